//! nginx.

use super::quote::{quoted, refuse, regex};
use super::sample::SampleConf;
use super::{NotConfigurable, Reach, ServedSite, host_and_port, name};
use crate::config::Extent;

const ROOT: &str = include_str!("../../conf/nginx.conf");
const PREFIX: &str = include_str!("../../conf/nginx-prefix.conf");

pub(super) fn write(site: &ServedSite) -> Result<(String, String), NotConfigurable> {
    let is_root = site.mount.is_empty();
    let text = if is_root { ROOT } else { PREFIX };
    let template = match site.extent {
        Extent::Whole => SampleConf::whole(text),
        Extent::Part => SampleConf::part(text),
    };
    let address = match &site.reach {
        Reach::Unix(path) => {
            refuse("nginx", "the socket", path, &["$", ":"])?;
            quoted(&format!("unix:{path}"))
        }
        Reach::Tcp(host, port) => host_and_port(host, *port),
        Reach::Program(_) => String::new(),
    };
    let mut template = template
        .put("unix:/run/wsgi-gateway.sock", &address)
        .instead(
            &[match is_root {
                true => "#location ^~ /static/ { alias /srv/site/static/; }",
                false => "#location ^~ /app/static/ { alias /srv/site/static/; }",
            }],
            &statics(site)?,
        );
    if is_root {
        template = template.put("wsgi_gateway", &name(site));
    } else {
        let mount = regex(&site.mount);
        template = template
            .put(
                "# /app and what is below it, but not /apple.",
                "# This path and what is below it.",
            )
            .put("location ~ ^/app(", &format!("location ~ ^{mount}("))
            .put("^(/app)(", &format!("^({mount})("))
            .put(
                "--mount /app",
                &format!("--mount {}", super::quote::url(&site.mount)),
            );
    }
    if is_root || site.extent == Extent::Whole {
        let listen = match &site.listen {
            None => "80".to_owned(),
            Some((host, port)) if host.is_empty() => port.to_string(),
            Some((host, port)) => host_and_port(host, *port),
        };
        template = template.put("listen 127.0.0.1:8080;", &format!("listen {listen};"));
    }
    if let Some(trial) = &site.trial {
        template = match &trial.user {
            Some((user, group)) => template.put("user www-data;", &format!("user {user} {group};")),
            None => template.without(&["user www-data;"]),
        };
    }
    let place = match site.extent {
        Extent::Whole => {
            "To try it, with some folder for nginx's own files: nginx -p /tmp/nginx -c THIS-FILE"
        }
        Extent::Part if is_root => {
            "Put it into a file of /etc/nginx/sites-enabled/ in place of 'default' (or of /etc/nginx/conf.d/); then:\n    \
             nginx -t && systemctl reload nginx"
        }
        Extent::Part => {
            "Put it into the block `server` of your site (in a file of /etc/nginx/sites-enabled/ or /etc/nginx/conf.d/); then:\n    \
             nginx -t && systemctl reload nginx"
        }
    };
    Ok((place.to_owned(), template.into_text()))
}

fn statics(site: &ServedSite) -> Result<Vec<String>, NotConfigurable> {
    let mut lines = Vec::new();
    for (prefix, folder) in &site.statics {
        let folder = folder.display().to_string();
        refuse("nginx", "the folder", &folder, &["$"])?;
        let prefix = quoted(&format!("{prefix}/"));
        lines.push(format!("location ^~ {prefix} {{"));
        lines.push(format!("    alias {};", quoted(&format!("{folder}/"))));
        lines.push("}".to_owned());
    }
    Ok(lines)
}
