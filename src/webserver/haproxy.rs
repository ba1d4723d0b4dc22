//! HAProxy.

use super::quote::{is_plain, quoted, refuse};
use super::sample::SampleConf;
use super::{NotConfigurable, Reach, ServedSite, host_and_port, name};
use crate::config::Extent;

const ROOT: &str = include_str!("../../conf/haproxy.cfg");
const PREFIX: &str = include_str!("../../conf/haproxy-prefix.cfg");

/// The folder that Debian's configuration confines it to.
const CHROOT: &str = "/var/lib/haproxy";

pub(super) fn write(site: &ServedSite) -> Result<(String, String), NotConfigurable> {
    if let Some((prefix, folder)) = site.statics.first() {
        return Err(NotConfigurable::new(format!(
            "HAProxy sends no files, so that --static {prefix}={} is for another web server: have the application send them (Django: \
             WhiteNoise), or one of the others that 'conf' knows",
            folder.display()
        )));
    }
    let is_root = site.mount.is_empty();
    let mut template = match (is_root, site.extent) {
        (true, Extent::Whole) => SampleConf::whole(ROOT),
        (true, Extent::Part) => SampleConf::part(ROOT),
        (false, Extent::Whole) => SampleConf::whole(PREFIX),
        (false, Extent::Part) => SampleConf::part(PREFIX),
    };
    let mut is_confined = false;
    let address = match &site.reach {
        Reach::Unix(path) => {
            refuse("HAProxy", "the socket", path, &["$"])?;
            let below = path
                .strip_prefix(CHROOT)
                .filter(|rest| rest.starts_with('/'));
            is_confined = site.extent == Extent::Part && below.is_some();
            let path = below.filter(|_| is_confined).unwrap_or(path);
            quoted(&format!("unix@{path}"))
        }
        Reach::Tcp(host, port) => host_and_port(host, *port),
        Reach::Program(_) => String::new(),
    };
    template = template.put("unix@/run/wsgi-gateway.sock", &address);
    let (name, condition) = (name(site), condition(&site.mount)?);
    let use_backend = format!("use_backend {name} if {condition}");
    if !is_root && site.extent == Extent::Whole {
        template = template
            .put(
                "# /app and what is below it, but not /apple.",
                "# This path and what is below it.",
            )
            .put(
                "use_backend wsgi if { path /app } || { path_beg /app/ }",
                &use_backend,
            );
    }
    if !is_root {
        template = template
            .put(
                "it leaves open what /app itself is",
                "it leaves open what the prefix itself is",
            )
            .put("--mount /app is exact", "--mount is exact");
    }
    if is_root || site.extent == Extent::Whole {
        let listen = match &site.listen {
            None => ":80".to_owned(),
            Some((host, port)) => host_and_port(host, *port),
        };
        template = template.put("bind 127.0.0.1:8080", &format!("bind {listen}"));
    }
    if let Some(trial) = &site.trial {
        template = match &trial.user {
            Some((user, group)) => template
                .put("    user haproxy\n", &format!("    user {user}\n"))
                .put("    group haproxy\n", &format!("    group {group}\n")),
            None => template.without(&["user haproxy", "group haproxy"]),
        };
    }
    if is_root {
        template = template.put("default_backend wsgi", &format!("default_backend {name}"));
    }
    let template = template
        .instead(&["backend wsgi"], &[format!("backend {name}")])
        .put("use-fcgi-app wsgi", &format!("use-fcgi-app {name}"))
        .instead(&["fcgi-app wsgi"], &[format!("fcgi-app {name}")]);
    let reload = "haproxy -c -f /etc/haproxy/haproxy.cfg && systemctl reload haproxy";
    let mut place = match site.extent {
        Extent::Whole => "To try it as root: haproxy -db -f THIS-FILE".to_owned(),
        Extent::Part if is_root => {
            format!("Put it at the end of /etc/haproxy/haproxy.cfg; then:\n    {reload}")
        }
        Extent::Part => format!(
            "Put this line into your `frontend` in /etc/haproxy/haproxy.cfg\n    {use_backend}\nand what follows at the end of that file; \
             then:\n    {reload}"
        ),
    };
    if is_confined {
        place += &format!(
            "\nHAProxy looks for the socket below the folder of its line `chroot {CHROOT}`."
        );
    }
    Ok((place, template.into_text()))
}

/// Whether a request is below the mount. HAProxy's path is as it was asked for, with its percent escapes.
fn condition(mount: &str) -> Result<String, NotConfigurable> {
    refuse("HAProxy", "--mount", mount, &["$"])?;
    Ok(match is_plain(mount) {
        true => format!("{{ path {mount} }} || {{ path_beg {mount}/ }}"),
        false => format!(
            "{{ path,url_dec -m str {} }} || {{ path,url_dec -m beg {} }}",
            quoted(mount),
            quoted(&format!("{mount}/"))
        ),
    })
}
