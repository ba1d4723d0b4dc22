//! h2o.

use super::quote::refuse;
use super::sample::SampleConf;
use super::{NotConfigurable, Reach, ServedSite};
use crate::config::Extent;

const FILE: &str = include_str!("../../conf/h2o.conf");

pub(super) fn write(site: &ServedSite) -> Result<(String, String), NotConfigurable> {
    let is_root = site.mount.is_empty();
    let is_entry = !is_root && site.extent == Extent::Part;
    let template = match is_entry {
        true => SampleConf::part(FILE),
        false => SampleConf::whole(FILE),
    };
    let mount = match is_root {
        true => "/",
        false => &site.mount,
    };
    let template = template.put("\"/\":", &format!("{}:", string(mount)));
    let mut template = match &site.reach {
        Reach::Unix(path) => {
            refuse("h2o", "the socket", path, &[])?;
            template.put(
                "port: /run/wsgi-gateway.sock",
                &format!("port: {}", string(path)),
            )
        }
        Reach::Tcp(host, port) => template
            .put(
                "type: unix",
                &format!("type: tcp\n{}host: {}", indent(is_entry), string(host)),
            )
            .put("port: /run/wsgi-gateway.sock", &format!("port: {port}")),
        Reach::Program(_) => template,
    };
    template = template.instead(
        &["#\"/static\":", "#  file.dir: /srv/site/static"],
        &statics(site)?,
    );
    template = match is_root {
        true => template.put(
            "# Under a path (\"/app\") the gateway must be told, for h2o sends nothing that says so: wsgi-gateway fastcgi --mount /app ...",
            "# The application.",
        ),
        false => template.put(
            "# Under a path (\"/app\") the gateway must be told, for h2o sends nothing that says so: wsgi-gateway fastcgi --mount /app ...",
            "# The gateway must be told this path (--mount), for h2o sends nothing that says so.",
        ),
    };
    if !is_entry {
        let (host, port) = match &site.listen {
            None => ("0.0.0.0", 80),
            Some((host, port)) if host.is_empty() => ("0.0.0.0", *port),
            Some((host, port)) => (&**host, *port),
        };
        template = template
            .put("host: 127.0.0.1\n", &format!("host: {}\n", string(host)))
            .put("port: 8080", &format!("port: {port}"));
    }
    if let Some(trial) = &site.trial {
        template = match &trial.user {
            Some((user, _)) => template.put("user: www-data", &format!("user: {user}")),
            None => template.without(&["user: www-data"]),
        };
    }
    let place = match site.extent {
        Extent::Whole => "To try it as root: h2o -c THIS-FILE",
        Extent::Part if is_root => {
            "Put it into /etc/h2o/h2o.conf, or its part under `hosts` beside other hosts there; then: systemctl reload h2o"
        }
        Extent::Part => {
            "Put it under the `paths` of your host in /etc/h2o/h2o.conf, indented as its neighbours are; then:\n    systemctl reload h2o"
        }
    };
    Ok((place.to_owned(), template.into_text()))
}

/// What the lines below `fastcgi.connect` are indented by.
fn indent(is_entry: bool) -> &'static str {
    if is_entry { "    " } else { "          " }
}

fn statics(site: &ServedSite) -> Result<Vec<String>, NotConfigurable> {
    let mut lines = Vec::new();
    for (prefix, folder) in &site.statics {
        let folder = folder.display().to_string();
        refuse("h2o", "the folder", &folder, &[])?;
        lines.push(format!("{}:", string(prefix)));
        lines.push(format!("  file.dir: {}", string(&folder)));
    }
    Ok(lines)
}

/// A string of YAML's, in double quotes.
fn string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
