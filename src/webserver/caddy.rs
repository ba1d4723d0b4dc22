//! Caddy.

use super::quote::{quoted, refuse};
use super::sample::SampleConf;
use super::{NotConfigurable, Reach, ServedSite, host_and_port, name};
use crate::config::Extent;

const ROOT: &str = include_str!("../../conf/Caddyfile");
const PREFIX: &str = include_str!("../../conf/Caddyfile-prefix");

/// What its matchers and placeholders are made of.
const SPECIAL: [&str; 4] = ["{", "}", "*", "%"];

pub(super) fn write(site: &ServedSite) -> Result<(String, String), NotConfigurable> {
    let is_root = site.mount.is_empty();
    refuse("Caddy", "--mount", &site.mount, &SPECIAL)?;
    let template = match (is_root, site.extent) {
        (true, _) => SampleConf::whole(ROOT),
        (false, Extent::Whole) => SampleConf::whole(PREFIX),
        (false, Extent::Part) => SampleConf::part(PREFIX),
    };
    let address = match &site.reach {
        Reach::Unix(path) => {
            refuse("Caddy", "the socket", path, &SPECIAL)?;
            quoted(&format!("unix/{path}"))
        }
        Reach::Tcp(host, port) => host_and_port(host, *port),
        Reach::Program(_) => String::new(),
    };
    let example = match is_root {
        true => "#handle_path /static/* {",
        false => "#handle_path /app/static/* {",
    };
    let example = [example, "#	root * /srv/site/static", "#	file_server", "#}"];
    let mut template = template
        .put("unix//run/wsgi-gateway.sock", &address)
        .instead(&example, &statics(site)?);
    if !is_root {
        let mount = &site.mount;
        let (path, below) = (quoted(mount), quoted(&format!("{mount}/*")));
        template = template
            .put(
                "# /app and what is below it, but not /apple.",
                "# This path and what is below it.",
            )
            .put("path /app /app/*", &format!("path {path} {below}"))
            .put("@app", &format!("@{}", name(site)))
            .put("split /app", &format!("split {path}"))
            .put(
                "--mount /app",
                &format!("--mount {}", super::quote::url(mount)),
            );
    }
    if is_root || site.extent == Extent::Whole {
        let (host, port) = match &site.listen {
            None => ("", 80),
            Some((host, port)) => (&**host, *port),
        };
        template = template
            .put("http://:8080 {", &format!("http://:{port} {{"))
            .put(
                "in place of http://:8080",
                &format!("in place of http://:{port}"),
            );
        template = match host {
            "" => template.without(&["bind 127.0.0.1"]),
            host => template.put("bind 127.0.0.1", &format!("bind {host}")),
        };
    }
    let place = match site.extent {
        Extent::Whole => "To try it: caddy run --adapter caddyfile --config THIS-FILE",
        Extent::Part if is_root => {
            "Put it into /etc/caddy/Caddyfile, in place of what is there for this site; then: systemctl reload caddy"
        }
        Extent::Part => {
            "Put it into the block of your site in /etc/caddy/Caddyfile (where that has a `handle` without a path, into that one);\nthen: systemctl reload caddy"
        }
    };
    let text = template.into_text();
    let text = match &site.trial {
        // Another Caddy of this machine may have the port that it listens for orders on.
        Some(trial) => format!(
            "{{\n\tadmin off\n\tstorage file_system {}\n}}\n\n{}",
            quoted(&trial.folder),
            text.replace("/var/www/html", "/var/empty")
        ),
        None => text,
    };
    Ok((place.to_owned(), text))
}

fn statics(site: &ServedSite) -> Result<Vec<String>, NotConfigurable> {
    let mut lines = Vec::new();
    for (prefix, folder) in &site.statics {
        let folder = folder.display().to_string();
        refuse("Caddy", "--static", prefix, &SPECIAL)?;
        refuse("Caddy", "the folder", &folder, &["{", "}"])?;
        lines.push(format!("handle_path {} {{", quoted(&format!("{prefix}/*"))));
        lines.push(format!("\troot * {}", quoted(&folder)));
        lines.push("\tfile_server".to_owned());
        lines.push("}".to_owned());
    }
    Ok(lines)
}
