//! Apache: mod_proxy_fcgi before a gateway that runs, or mod_cgi and mod_cgid.

use super::quote::{quoted, refuse};
use super::sample::SampleConf;
use super::{NotConfigurable, Reach, ServedSite, host_and_port};
use crate::config::Extent;

const PROXY: &str = include_str!("../../conf/apache/proxy-fcgi.conf");
const CGI: &str = include_str!("../../conf/apache/cgi.conf");
const FRAME: &str = include_str!("../../conf/apache/httpd.conf");

/// What is a pattern where it names a folder, or a variable.
const SPECIAL: [&str; 5] = ["${", "*", "?", "[", "%{"];

pub(super) fn write(site: &ServedSite) -> Result<(String, String), NotConfigurable> {
    let is_root = site.mount.is_empty();
    refuse("Apache", "--mount", &site.mount, &["${"])?;
    let mut template = match site.reach {
        Reach::Program(_) => SampleConf::whole(CGI),
        _ => SampleConf::whole(PROXY),
    };
    template = match &site.reach {
        Reach::Program(file) => program(template, site, file)?,
        reach => proxy(template, site, reach)?,
    };
    let part = template;
    let (place, text) = match site.extent {
        Extent::Part if !is_root => {
            let inside = part.inside("<VirtualHost *:80>", "</VirtualHost>");
            let inside = inside.without(&["#ServerName www.example.org"]);
            (inside_of(site), inside.into_text())
        }
        Extent::Part => {
            let port = site
                .listen
                .as_ref()
                .map_or_else(|| "*:80".to_owned(), address);
            let text = part.put("<VirtualHost *:80>", &format!("<VirtualHost {port}>"));
            (site_of(site), text.into_text())
        }
        Extent::Whole => {
            let listen = site
                .listen
                .as_ref()
                .map_or_else(|| "80".to_owned(), address);
            let port = site
                .listen
                .as_ref()
                .map_or_else(|| "*:80".to_owned(), address);
            let text = part.put("<VirtualHost *:80>", &format!("<VirtualHost {port}>"));
            let mut frame = SampleConf::whole(FRAME).put("Listen 80", &format!("Listen {listen}"));
            if let Some(trial) = &site.trial {
                frame = frame
                    .put(" /tmp", &format!(" {}", trial.folder))
                    .put("/etc/mime.types", &format!("{}/mime.types", trial.folder));
                frame = match &trial.user {
                    Some((user, group)) => frame
                        .put("User www-data", &format!("User {user}"))
                        .put("Group www-data", &format!("Group {group}")),
                    None => frame.without(&["User www-data", "Group www-data"]),
                };
            }
            let place = "To try it as root: apache2 -DFOREGROUND -f THIS-FILE";
            (
                place.to_owned(),
                format!("{}\n{}", frame.into_text(), text.into_text()),
            )
        }
    };
    Ok((place, text))
}

fn address((host, port): &(String, u16)) -> String {
    match &**host {
        "" => format!("*:{port}"),
        host => host_and_port(host, *port),
    }
}

fn module(site: &ServedSite) -> &'static str {
    match site.reach {
        Reach::Program(_) => "cgid",
        _ => "proxy_fcgi",
    }
}

fn site_of(site: &ServedSite) -> String {
    let module = module(site);
    format!(
        "Put it into /etc/apache2/sites-available/app.conf; then (000-default is Debian's own page, which would answer first):\n    \
         a2enmod {module} && a2dissite 000-default && a2ensite app && systemctl restart apache2"
    )
}

fn inside_of(site: &ServedSite) -> String {
    let module = module(site);
    format!(
        "Put it into the block `VirtualHost` of your site (in /etc/apache2/sites-available/); then:\n    \
         a2enmod {module} && apache2ctl configtest && systemctl restart apache2"
    )
}

fn proxy(
    template: SampleConf,
    site: &ServedSite,
    reach: &Reach,
) -> Result<SampleConf, NotConfigurable> {
    let url = match reach {
        Reach::Unix(path) => {
            refuse("Apache", "the socket", path, &["|", "${"])?;
            format!("unix:{path}|fcgi://localhost")
        }
        Reach::Tcp(host, port) => format!("fcgi://{}", host_and_port(host, *port)),
        Reach::Program(_) => String::new(),
    };
    let root = "ProxyPass / unix:/run/wsgi-gateway.sock|fcgi://localhost/ enablereuse=on";
    let below = "#ProxyPass /app unix:/run/wsgi-gateway.sock|fcgi://localhost enablereuse=on";
    let template = template
        .instead(
            &[
                "#ProxyPass /static !",
                "#Alias /static /srv/site/static",
                "#<Directory /srv/site/static>",
                "#    Require all granted",
                "#</Directory>",
            ],
            &statics(site, true)?,
        )
        .put(
            "# The application has the whole site, or a path: the gateway sees by itself which. `localhost` means nothing but must be there.",
            "# `localhost` means nothing behind unix: but must be there.",
        );
    // Another way for a path, which is for who reads the file.
    let template = template.without(&[
        "# Another way to give the application a path, instead of ProxyPass. (For the whole site, on <Location />, Apache splits the path at",
        "# random and the gateway needs --mount / to put it together again: use ProxyPass there.)",
        "#<Location /app>",
        "#    SetHandler proxy:unix:/run/wsgi-gateway.sock|fcgi://localhost/",
        "#</Location>",
    ]);
    let template = match &*site.mount {
        "" => template.without(&[below]),
        mount => {
            let line = format!(
                "ProxyPass {} {} enablereuse=on",
                quoted(mount),
                quoted(&url)
            );
            template
                .instead(&[below], &[line])
                .without(&[root])
                .put("<Location />", &format!("<Location {}>", quoted(mount)))
        }
    };
    Ok(match &*site.mount {
        "" => template.put(
            "unix:/run/wsgi-gateway.sock|fcgi://localhost/",
            &quoted(&format!("{url}/")),
        ),
        _ => template,
    })
}

fn program(
    template: SampleConf,
    site: &ServedSite,
    file: &str,
) -> Result<SampleConf, NotConfigurable> {
    refuse("Apache", "the file", file, &SPECIAL)?;
    let folder = file.rsplit_once('/').map_or("/", |(folder, _)| folder);
    let root = "ScriptAlias / /srv/app/app.cgi/";
    let below = "#ScriptAlias /app /srv/app/app.cgi";
    let template = template
        .instead(
            &[
                "#Alias /static /srv/site/static",
                "#<Directory /srv/site/static>",
                "#    Require all granted",
                "#</Directory>",
            ],
            &statics(site, false)?,
        )
        .put(
            "# The application has the whole site: mind the slash at the end of both. Or it has a path, and then none has a slash.",
            "# Both end with a slash where the application has the whole site, and else neither.",
        );
    let template = match &*site.mount {
        "" => template
            .instead(
                &[root],
                &[format!("ScriptAlias / {}", quoted(&format!("{file}/")))],
            )
            .without(&[below]),
        mount => template
            .instead(
                &[below],
                &[format!("ScriptAlias {} {}", quoted(mount), quoted(file))],
            )
            .without(&[root]),
    };
    Ok(template.put(
        "<Directory /srv/app>",
        &format!("<Directory {}>", quoted(folder)),
    ))
}

fn statics(site: &ServedSite, is_proxied: bool) -> Result<Vec<String>, NotConfigurable> {
    let mut lines = Vec::new();
    for (prefix, folder) in &site.statics {
        let folder = folder.display().to_string();
        refuse("Apache", "--static", prefix, &["${"])?;
        refuse("Apache", "the folder", &folder, &SPECIAL)?;
        let (prefix, folder) = (quoted(prefix), quoted(&folder));
        if is_proxied {
            lines.push(format!("ProxyPass {prefix} !"));
        }
        lines.push(format!("Alias {prefix} {folder}"));
        lines.push(format!("<Directory {folder}>"));
        lines.push("    Require all granted".to_owned());
        lines.push("</Directory>".to_owned());
    }
    Ok(lines)
}
