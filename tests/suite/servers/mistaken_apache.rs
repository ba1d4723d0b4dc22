//! `explain` behind Apache with one mistake each, and with the line that mends it.

use super::explanation::{
    Explained, ask, explaining, in_folder, write_explain, write_explain_service,
};
use super::mistaken::{AUTHORIZATION, Mistake, Served};
use super::{Folder, Server, apache, program};
use crate::support::http::Client;

/// One site of Apache's, in whose folder requests are explained, with a gateway that runs besides.
fn behind_apache(site: &str) -> Served {
    let gateway = explaining(&[]);
    let sites = |folder: &Folder| {
        write_explain(folder, "app.cgi");
        write_explain_service(folder, "app.fcgi");
        let site = in_folder(site, folder);
        vec![site.replace("/run/wsgi-gateway.sock", gateway.socket().to_str().unwrap())]
    };
    let server = apache::serve("event", "cgid", 1, sites).expect("asked for before");
    (server, Some(gateway))
}

#[test]
fn apache_that_keeps_the_authorization() {
    if program("apache2").is_none() {
        return;
    }
    let line = "CGIPassAuth On";
    let sites = [
        apache::cgi("/app"),
        apache::fcgid("/app", false),
        apache::proxy_fcgi(&[apache::PROXY_PASS_BELOW]),
    ];
    for site in sites {
        assert_eq!(site.matches(line).count(), 1);
        let serve = |instead: &str| behind_apache(&site.replace(line, instead));
        let target = "/app/a/b?check=authorization";
        let mistake = Mistake {
            name: &site,
            serve: &serve,
            target,
            fields: &[AUTHORIZATION],
            line,
        };
        mistake.check();
        // A browser would ask and ask again.
        let (server, _gateway) = serve("");
        let page = ask(server.address(), target, &[AUTHORIZATION]);
        assert_eq!(page.status, 401);
        assert!(
            page.field("WWW-Authenticate")
                .is_some_and(|value| value.starts_with("Basic "))
        );
    }
}

#[test]
fn apache_that_splits_the_path_where_it_likes() {
    if program("apache2").is_none() {
        return;
    }
    // Where the folder of Debian's own site has an index.html, / would be that.
    let set_handler = apache::proxy_fcgi(&apache::SET_HANDLER).replace(
        "<Location /app>",
        "<Location />\n    DirectoryIndex disabled",
    );
    let whole = |line: &str| match line {
        "" => behind_apache(&set_handler),
        _ => behind_apache(
            &apache::proxy_fcgi(&[]).replace("ProxyTimeout", &format!("{line}\nProxyTimeout")),
        ),
    };
    let line = "ProxyPass \"/\" \"unix:/run/wsgi-gateway.sock|fcgi://localhost/\"";
    Mistake {
        name: "SetHandler",
        serve: &whole,
        target: "/",
        fields: &[],
        line,
    }
    .check();
    // At another URL it could be right, and is said to be unknown.
    let (server, _gateway) = whole("");
    let told = Explained::of(&ask(server.address(), "/a/b", &[]));
    assert_eq!(
        (told.setup.as_str(), told.findings),
        ("mod_proxy_fcgi by SetHandler", vec![])
    );
    assert_eq!(told.unseen[0], line);

    let below = apache::proxy_fcgi(&[apache::PROXY_PASS_BELOW]);
    let below = below.replace(
        "ProxyTimeout",
        "SetEnvIf Request_URI . proxy-fcgi-pathinfo=1\nProxyTimeout",
    );
    let serve = |line: &str| {
        behind_apache(&below.replace(
            "SetEnvIf Request_URI . proxy-fcgi-pathinfo=1",
            if line.is_empty() {
                "SetEnvIf Request_URI . proxy-fcgi-pathinfo=1"
            } else {
                line
            },
        ))
    };
    let line = "SetEnvIf Request_URI . proxy-fcgi-pathinfo=unescape";
    Mistake {
        name: "pathinfo",
        serve: &serve,
        target: "/app/a%20b/c",
        fields: &[],
        line,
    }
    .check();
}

#[test]
fn apache_behind_tls() {
    if program("apache2").is_none() {
        return;
    }
    let line = "SetEnvIf X-Forwarded-Proto ^https$ HTTPS=on";
    for site in [
        apache::cgi(""),
        apache::fcgid("", false),
        apache::proxy_fcgi(&[apache::PROXY_PASS]),
    ] {
        let serve = |line: &str| {
            behind_apache(&site.replace(
                "AllowEncodedSlashes",
                &format!("{line}\nAllowEncodedSlashes"),
            ))
        };
        Mistake {
            name: &site,
            serve: &serve,
            target: "/a/b",
            fields: &["X-Forwarded-Proto: https"],
            line,
        }
        .check();
    }
}

#[test]
fn mod_fcgid_with_its_own_limit() {
    if program("apache2").is_none() {
        return;
    }
    let site = apache::fcgid("", false).replace("FcgidMaxRequestLen 104857600", "LIMIT");
    let post = |server: &Server| {
        let mut client = Client::open(server.address());
        client.begin("POST", "/?format=json", &[], 200_000);
        let _ = client.try_write(&[b'x'; 200_000]);
        client.page("POST")
    };
    let (server, gateway) = behind_apache(&site.replace("LIMIT", ""));
    let told = Explained::of(&ask(server.address(), "/", &[AUTHORIZATION]));
    let line = "FcgidMaxRequestLen 1073741824";
    assert_eq!(
        (told.findings, &told.unseen[..]),
        (vec![], &[line.to_owned()][..])
    );
    assert_eq!(post(&server).status, 500);
    drop((server, gateway));
    let (server, _gateway) = behind_apache(&site.replace("LIMIT", line));
    let page = post(&server);
    assert_eq!(page.status, 200, "{}", page.text());
    assert!(
        !Explained::of(&page)
            .unseen
            .iter()
            .any(|unseen| unseen == line)
    );
}
