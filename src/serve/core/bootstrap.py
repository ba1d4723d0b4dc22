import sys
try:
    import _imp
    class spec:
        name = 'wsgi_gateway_cp%d%d%s_$CONTRACT' % (sys.version_info[:2] + ('t' * ('t' in sys.abiflags),))
    files = $FILES + [$FOLDER + b'/core-' + name.split('_')[2].encode() + b'.so' for name in [spec.name]]
    for file in files:
        spec.origin = file.decode('utf-8', 'surrogateescape')
        try:
            core = _imp.create_dynamic(spec)
            break
        except ImportError:
            if file is files[-1]: raise
    _imp.exec_dynamic(core)
except Exception:
    exec($FAILURE)
core.main($SETTINGS)
