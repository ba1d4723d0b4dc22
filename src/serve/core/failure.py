import os, re
def cores():
    found = set()
    for file in $FILES:
        try: binary = open(file, 'rb')
        except (IOError, OSError): continue
        with binary:
            found.update(re.findall(b'PyInit_wsgi_gateway_cp([0-9]+t?)_', binary.read()))
    try: names = os.listdir($FOLDER)
    except OSError: names = []
    found.update(match.group(1) for match in map(re.compile(b'core-cp([0-9]+t?)[.]so$').match, names) if match)
    order = sorted((text(one) for one in found), key=lambda one: (int(one.strip('t')), one))
    return [one[0] + '.' + one[1:] for one in order]
def text(name): return name.decode('utf-8', 'replace')
def reason():
    python = text($PYTHON)
    other = 'name another with --python or --venv'
    kind = getattr(getattr(sys, 'implementation', None), 'name', 'cpython')
    if kind != 'cpython':
        return '%s is %s, and this gateway needs CPython: %s' % (python, kind, other)
    version = '%d.%d' % sys.version_info[:2] + 't' * ('t' in getattr(sys, 'abiflags', ''))
    known = cores()
    if version in known:
        return ('the core for Python %s cannot be loaded: it is of another build than this program, or for another machine; '
            'install both anew, or restart what was started before that (%s)' % (version, sys.exc_info()[1]))
    there = ' and '.join([', '.join(known[:-1])] * (len(known) > 1) + known[-1:])
    return 'Python %s of %s has no core here: there %s; %s' % (version, python,
        'is none' if not known else ('are those of ' if len(known) > 1 else 'is that of ') + there, other)
told = reason()
for fd, before, behind in $TELL:
    # Without an end it is a page for somebody who is not told.
    try: os.write(fd, before if behind is None else before + told.encode('utf-8', 'replace') + behind)
    except OSError: pass
os._exit(3)
