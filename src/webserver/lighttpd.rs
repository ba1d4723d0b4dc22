//! lighttpd.

use super::quote::{refuse, regex};
use super::sample::SampleConf;
use super::{NotConfigurable, Reach, ServedSite};
use crate::config::Extent;

const ROOT: &str = include_str!("../../conf/lighttpd.conf");
const PREFIX: &str = include_str!("../../conf/lighttpd-prefix.conf");
const CGI: &str = include_str!("../../conf/lighttpd-cgi.conf");

/// What cannot be written in its strings.
const SPECIAL: [&str; 2] = ["\"", "\\"];

pub(super) fn write(site: &ServedSite) -> Result<(String, String), NotConfigurable> {
    let is_root = site.mount.is_empty();
    refuse("lighttpd", "--mount", &site.mount, &SPECIAL)?;
    let text = match &site.reach {
        Reach::Program(_) => CGI,
        _ if is_root => ROOT,
        _ => PREFIX,
    };
    let mut template = match site.extent {
        Extent::Whole => SampleConf::whole(text),
        Extent::Part => SampleConf::part(text),
    };
    if site.extent == Extent::Whole {
        let (host, port) = match &site.listen {
            None => ("0.0.0.0", 80),
            Some((host, port)) if host.is_empty() => ("0.0.0.0", *port),
            Some((host, port)) => (&**host, *port),
        };
        template = template
            .put(
                "server.bind = \"127.0.0.1\"",
                &format!("server.bind = \"{host}\""),
            )
            .put("server.port = 8080", &format!("server.port = {port}"));
    }
    if let Some(trial) = &site.trial {
        let lines = [
            "server.username = \"www-data\"",
            "server.groupname = \"www-data\"",
        ];
        template = match &trial.user {
            Some((user, group)) => template
                .put(lines[0], &format!("server.username = \"{user}\""))
                .put(lines[1], &format!("server.groupname = \"{group}\"")),
            None => template.without(&lines),
        };
        let root = match is_root {
            true => "/var/empty",
            false => "/var/www/html",
        };
        template = template
            .put("/var/tmp", &format!("{}/uploads", trial.folder))
            .put(root, &format!("{}/empty", trial.folder));
    }
    template = match &site.reach {
        Reach::Program(file) => program(template, site, file)?,
        reach => fastcgi(template, site, reach)?,
    };
    let place = match site.extent {
        Extent::Whole => "To try it as root: lighttpd -D -f THIS-FILE",
        Extent::Part => {
            "Put it into a file of /etc/lighttpd/conf-enabled/ (or at the end of lighttpd.conf), and leave out modules that are\n\
             loaded there already; then: lighttpd -tt -f /etc/lighttpd/lighttpd.conf && systemctl restart lighttpd"
        }
    };
    Ok((place.to_owned(), template.into_text()))
}

fn fastcgi(
    template: SampleConf,
    site: &ServedSite,
    reach: &Reach,
) -> Result<SampleConf, NotConfigurable> {
    let address = match reach {
        Reach::Unix(path) => {
            refuse("lighttpd", "the socket", path, &SPECIAL)?;
            format!("\"socket\" => \"{path}\",")
        }
        Reach::Tcp(host, port) => format!("\"host\" => \"{host}\", \"port\" => {port},"),
        Reach::Program(_) => String::new(),
    };
    let template = template.put("\"socket\" => \"/run/wsgi-gateway.sock\",", &address);
    let (lines, but) = statics(site)?;
    if site.mount.is_empty() {
        if lines.is_empty() {
            return Ok(template);
        }
        let begin = "fastcgi.server = ( \"/\" => ((";
        return Ok(template
            .instead(
                &["server.modules += ( \"mod_fastcgi\" )"],
                &modules("mod_fastcgi", &lines),
            )
            .put(begin, &format!("$HTTP[\"url\"] =~ \"^{but}/\" {{\n{begin}"))
            .instead(
                &["\"fix-root-scriptname\" => \"enable\"", ")) )"],
                &[
                    "\"fix-root-scriptname\" => \"enable\"".to_owned(),
                    ")) )\n}".to_owned(),
                ],
            ));
    }
    let mount = &site.mount;
    let is_inside = format!("\"^{but}{}(/|$)\"", regex(mount));
    Ok(template
        .instead(
            &["server.modules += ( \"mod_fastcgi\" )"],
            &modules("mod_fastcgi", &lines),
        )
        .put(
            "# /app and what is below it, but not /apple.",
            "# This path and what is below it.",
        )
        .put("\"^/app(/|$)\"", &is_inside)
        .put("( \"/app\" =>", &format!("( \"{mount}\" =>")))
}

fn program(
    template: SampleConf,
    site: &ServedSite,
    file: &str,
) -> Result<SampleConf, NotConfigurable> {
    refuse("lighttpd", "the file", file, &SPECIAL)?;
    let name = file.rsplit('/').next().unwrap_or(file);
    let (lines, but) = statics(site)?;
    let alias = "alias.url = ( \"/app\" => \"/srv/site/app.py\" )";
    let (condition, pair) = match &*site.mount {
        "" => (format!("\"^{but}/\""), format!("\"/\" => \"{file}/\"")),
        mount => (
            format!("\"^{but}{}(/|$)\"", regex(mount)),
            format!("\"{mount}\" => \"{file}\""),
        ),
    };
    Ok(template
        .instead(
            &["server.modules += ( \"mod_alias\", \"mod_cgi\" )"],
            &with_first("server.modules += ( \"mod_alias\", \"mod_cgi\" )", &lines),
        )
        .put("( \"/app.py\" =>", &format!("( \"/{name}\" =>"))
        .put(
            "# The application is at /app. (lighttpd would take /apple for it, too: hence the condition.)",
            "# Where the application is.",
        )
        .put("\"^/app(/|$)\"", &condition)
        .put(alias, &format!("alias.url += ( {pair} )"))
        .without(&[
            "# For an application that has the whole site, instead:",
            "#alias.url = ( \"/\" => \"/srv/site/app.py/\" )",
        ]))
}

fn modules(module: &str, statics: &[String]) -> Vec<String> {
    match statics.is_empty() {
        true => Vec::new(),
        false => with_first(
            &format!("server.modules += ( \"mod_alias\", \"{module}\" )"),
            statics,
        ),
    }
}

fn with_first(first: &str, rest: &[String]) -> Vec<String> {
    let mut lines = vec![first.to_owned()];
    lines.extend_from_slice(rest);
    lines
}

/// The lines for files that lighttpd sends itself, and how a regular expression begins that leaves their URLs out.
fn statics(site: &ServedSite) -> Result<(Vec<String>, String), NotConfigurable> {
    let mut lines = Vec::new();
    let mut prefixes = Vec::new();
    for (prefix, folder) in &site.statics {
        let folder = folder.display().to_string();
        refuse("lighttpd", "--static", prefix, &SPECIAL)?;
        refuse("lighttpd", "the folder", &folder, &SPECIAL)?;
        lines.push(format!("alias.url += ( \"{prefix}/\" => \"{folder}/\" )"));
        prefixes.push(regex(prefix));
    }
    let but = match prefixes.is_empty() {
        true => String::new(),
        false => format!("(?!({})/)", prefixes.join("|")),
    };
    Ok((lines, but))
}
