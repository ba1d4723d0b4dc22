//! Processes that an application spawns.

use super::*;

const SQUARES: &str = "import multiprocessing\n\
                       class Number:\n    def __init__(self, n): self.n = n\n    def square(self): return Number(self.n * self.n)\n\
                       def squares(method):\n    \
                           with multiprocessing.get_context(method).Pool(1) as pool:\n        \
                               found = pool.map_async(Number.square, [Number(3)]).get(20)\n        \
                               return [type(n) is Number and n.n for n in found]\n";

/// multiprocessing's 'spawn' and 'forkserver' start sys.executable, which has to find what the file defines.
#[test]
fn finds_what_the_file_defines() {
    let site = Site::new(&[("mysite/__init__.py", "")]);
    let link = site.expression("srv/real.py", SQUARES, "squares('spawn')");
    let mut files = vec![site.link("linked.cgi", link)];
    for name in [
        "plain.py",
        "site.wsgi",
        "my-site.py",
        "app",
        "mysite/wsgi.py",
    ] {
        files.push(site.expression(name, SQUARES, "squares('spawn')"));
    }
    files.push(site.expression("server.wsgi", SQUARES, "squares('forkserver')"));
    thread::scope(|scope| {
        let mut asked = Vec::new();
        for file in &files {
            asked.push(scope.spawn(move || (file, cgi(file).run())));
        }
        for asked in asked {
            let (file, output) = asked.join().unwrap();
            assert_eq!(text(&output), "[9]", "{}", file.display());
        }
    });
}

#[test]
fn of_a_worker_finds_it_too() {
    let site = Site::new(&[]);
    let file = site.expression("site.wsgi", SQUARES, "squares('spawn')");
    for options in [&[][..], &["--preload"]] {
        let gateway = Site::fastcgi(&file).args(options).start();
        let response = fetch(gateway.socket(), &Request::get("/"));
        assert_eq!(response.expect(200).text(), "[9]", "{options:?}");
    }
}
