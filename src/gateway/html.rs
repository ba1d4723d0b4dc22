//! The frame of the gateway's own pages for people: head, look and end, and how text becomes text in them. One file each, no script,
//! nothing fetched from elsewhere; one column on a phone, light or dark as the browser is. Knows nothing of what they say.

use std::fmt::{self, Display, Write as _};

/// The header fields of such a page besides its type and length: nobody keeps, indexes, frames it or runs anything in it.
pub const PAGE_FIELDS: [(&str, &str); 5] = [
    ("Cache-Control", "no-store"),
    ("X-Robots-Tag", "noindex, nofollow"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
];

/// The look. Colours are named once for each scheme, and every text has at least the contrast of WCAG 2.2 level AA (4.5 to 1) on what
/// is behind it: a test measures that in a browser. State is said in words; `good`, `bad` and `quiet` only colour them. A table of
/// class `pairs` (a `th` and a `td` a row) has one column on a phone; one that must stay wide stands in a `div` of class `wide`, which
/// scrolls by itself.
const STYLE: &str = "\
:root { color-scheme: light dark; --back: #fff; --text: #1f2328; --quiet: #59636e; --line: #d1d9e0; --code: #f3f5f7; --good: #1a7f37; \
--bad: #b3261e; --link: #0550ae }
@media (prefers-color-scheme: dark) { :root { --back: #0d1117; --text: #e6edf3; --quiet: #9da5ae; --line: #3d444d; --code: #1b222b; \
--good: #4ac26b; --bad: #ff8a80; --link: #79b8ff } }
* { box-sizing: border-box }
body { background: var(--back); color: var(--text); font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; \
padding: 1rem; overflow-wrap: anywhere }
h1 { font-size: 1.5rem; line-height: 1.3; margin: .5rem 0 } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem }
a { color: var(--link) } p { margin: .5rem 0 } .good { color: var(--good) } .bad { color: var(--bad) }
small, .quiet { color: var(--quiet); font-size: .875rem } td small, td .quiet { display: block }
code, pre { font-family: ui-monospace, monospace; font-size: .9em }
pre { background: var(--code); margin: .3rem 0; padding: .4rem .6rem; white-space: pre-wrap }
ul { padding: 0; list-style: none; margin: 0 } li { border-left: 4px solid var(--line); padding: .1rem .8rem; margin: .8rem 0 }
li.bad { color: inherit; border-color: var(--bad) } li.bad b { color: var(--bad) }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .3rem 1rem .3rem 0; border-bottom: 1px solid var(--line) }
th { font-weight: 600 } .pairs th { width: 16rem } .wide { overflow-x: auto }
svg { display: block; width: 100%; height: auto }
@media (max-width: 40rem) { .pairs, .pairs tbody, .pairs tr, .pairs th, .pairs td { display: block; width: auto } \
.pairs th { border: 0; padding-bottom: 0 } .pairs td { padding-top: 0 } }
";

/// Writes the page up to where its content begins. `refresh`: seconds after which the browser asks again.
pub fn begin_page(out: &mut String, title: &str, refresh: Option<u32>) {
    let title = Escaped(title);
    // Writing to a String does not fail.
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<meta name=\"robots\" \
         content=\"noindex\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    );
    if let Some(seconds) = refresh {
        let _ = writeln!(out, "<meta http-equiv=\"refresh\" content=\"{seconds}\">");
    }
    let _ = write!(out, "<style>\n{STYLE}</style>\n</head>\n<body>\n");
}

/// Writes what follows the content.
pub fn end_page(out: &mut String) {
    out.push_str("</body>\n</html>\n");
}

/// Text that is text wherever it stands in a page, in the value of an attribute, too.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                _ => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Escaped, begin_page, end_page};

    #[test]
    fn nothing_of_a_value_is_markup() {
        let escaped = Escaped("<script>\"'&").to_string();
        assert_eq!(escaped, "&lt;script&gt;&quot;&#39;&amp;");
    }

    #[test]
    fn a_page_asks_again_only_where_it_is_told_to() {
        for (refresh, is_there) in [(None, false), (Some(2), true)] {
            let mut page = String::new();
            begin_page(&mut page, "a < b", refresh);
            end_page(&mut page);
            assert_eq!(
                page.contains("http-equiv=\"refresh\" content=\"2\""),
                is_there
            );
            assert!(page.contains("<title>a &lt; b</title>") && page.ends_with("</html>\n"));
        }
    }
}
