//! What `explain` must not say behind real web servers: secrets of the client and of the machine, and markup that somebody puts into a URL.

use std::net::SocketAddr;

use super::explanation::{explaining, in_folder, write_explain, write_explain_service};
use super::{Conf, Folder, apache, lighttpd, nginx, program};
use crate::support::http::{Client, Page};
use crate::support::json::members;

/// A request with what is not to come back as it is.
fn ask(address: SocketAddr, format: &str) -> Page {
    let mut client = Client::open(address);
    let mut head = format!(
        "GET /%3Cscript%3Ealert(%22%27)%3C/script%3E/caf%E9?format={format}&q=%3Cscript%3E'\" HTTP/1.1\r\n\
         Host: site.example:{}\r\nCookie: session=s3cret\r\nAuthorization: Basic s3cret\r\nX-Api-Key: s3cret\r\n",
        address.port()
    );
    // Apache takes no quotes in a target, which are no characters of a URL.
    head = head.replace("'\" HTTP", "%27%22 HTTP");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(b"X-Mark: <script>alert(\"'&\")</script> \xff\xe9\r\n\r\n");
    client.write(&bytes);
    client.page("GET")
}

fn check(name: &str, address: SocketAddr) {
    for format in ["html", "json", "text"] {
        let page = ask(address, format);
        assert_eq!(page.status, 200, "{name}: {}", page.text());
        let text = String::from_utf8(page.body).unwrap();
        for secret in ["s3cret", "leaked"] {
            assert!(!text.contains(secret), "{name}: {text}");
        }
        assert!(text.contains("(hidden, "), "{name}: {text}");
        let words: &[&str] = match format {
            "html" => &[
                "PATH_INFO</th><td><code>&#39;/&lt;script&gt;alert(&quot;&#39;)&lt;/script&gt;/caf\\xe9&#39;</code></td>",
                "&lt;script&gt;alert(&quot;&#39;&amp;&quot;)&lt;/script&gt; \\xff\\xe9",
            ],
            "json" => &["\"path_info\": \"/<script>alert(\\\"')</script>/caf\\u00e9\""],
            _ => &["PATH_INFO    '/<script>alert(\"')</script>/caf\\xe9'"],
        };
        for word in words {
            assert!(text.contains(word), "{name}: no {word} in {text}");
        }
        if format == "html" {
            assert!(!text.contains("<script"), "{name}: {text}");
        }
        if format == "json" {
            let marks = members(
                &text,
                "ascii([v['value'] for v in d['variables'] if v['name'] == 'HTTP_X_MARK'])",
            );
            assert_eq!(
                marks, "['<script>alert(\"\\'&\")</script> \\xff\\xe9']",
                "{name}"
            );
        }
    }
}

#[test]
fn nothing_is_given_away_by_fastcgi() {
    if program("nginx").is_some() {
        let gateway = explaining(&[]);
        let conf = Conf::read("nginx.conf").put(
            "fastcgi_pass",
            "fastcgi_param DB_PASSWORD leaked; fastcgi_param DATABASE_URL postgres://me:leaked@db/x; fastcgi_pass",
        );
        check("nginx", nginx::start(&conf, &gateway).address());
    }
    if program("lighttpd").is_some() {
        let conf = Conf::read("lighttpd-spawn.conf")
            .put("--threads 4", "fastcgi --explain --threads 4")
            .put("#\"bin-environment\"", "\"bin-environment\"")
            .put("\"DJANGO_SETTINGS_MODULE\" => \"site.settings\"", "\"PLAIN\" => \"leaked\", \"HTTP_X_OF_ITS_OWN\" => \"leaked\"")
            // Else the byte that is no UTF-8 is refused.
            .put("server.port", "server.http-parseopts = ( \"url-invalid-utf8-reject\" => \"disable\" )\nserver.port");
        check("lighttpd", lighttpd::spawned(&conf).address());
    }
}

#[test]
fn nothing_is_given_away_by_apache() {
    let sites = |folder: &Folder| {
        write_explain(folder, "app.cgi");
        write_explain_service(folder, "app.fcgi");
        let cgi = apache::cgi("").replace(
            "AllowEncodedSlashes",
            "SetEnv PLAIN leaked\nSetEnv DATABASE_URL postgres://me:leaked@db/x\nAllowEncodedSlashes",
        );
        let fcgid = apache::fcgid("", false).replace(
            "AllowEncodedSlashes",
            "FcgidInitialEnv PLAIN leaked\nFcgidInitialEnv HTTP_X_OF_ITS_OWN leaked\n\
             SetEnv DATABASE_URL postgres://me:leaked@db/x\nSetEnv DB_PASSWORD leaked\nAllowEncodedSlashes",
        );
        vec![in_folder(&cgi, folder), in_folder(&fcgid, folder)]
    };
    let Some(server) = apache::serve("event", "cgid", 2, sites) else {
        return;
    };
    check("mod_cgid", server.addresses()[0]);
    check("mod_fcgid", server.addresses()[1]);
}
