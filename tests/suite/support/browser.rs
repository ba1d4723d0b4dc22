//! Looks at a page in headless Chromium, at the width of a phone and of a desk, light and dark: whether anything has to be scrolled to
//! sideways, and whether every text can be told from what is behind it. Knows nothing of what the page says.

use std::process::{Command, Stdio};

use nix::unistd::geteuid;
use tempfile::TempDir;

use crate::servers::program;

/// The least contrast of a text and what is behind it (WCAG 2.2, success criterion 1.4.3, level AA).
const CONTRAST: f64 = 4.5;

/// How the page is shown: pixels, and the colour scheme that the browser's user likes.
const VIEWS: [(u32, &str); 4] = [
    (390, "light"),
    (390, "dark"),
    (1200, "light"),
    (1200, "dark"),
];

/// Measures each frame, and writes a line of it: the page's width and the room for it, the least contrast and the text that has it, the
/// background's colour, and how many cells stand beside their heading. A frame has its own width where a window has at least 500 pixels,
/// and follows its element's `color-scheme`.
const MEASURE: &str = r#"
const channels = text => (text.match(/[\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => { const [x, y, z] = [r, g, b].map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * x + 0.7152 * y + 0.0722 * z; };
const over = ([r, g, b, a = 1], behind) => [r, g, b].map((v, at) => v * a + behind[at] * (1 - a));
function behind(element, view) {
  const layers = [];
  for (; element; element = element.parentElement) {
    const colour = channels(view.getComputedStyle(element).backgroundColor);
    layers.push(colour);
    if (colour.length === 3 || colour[3] === 1) break;
  }
  return layers.reverse().reduce((under, colour) => over(colour, under), [255, 255, 255]);
}
onload = () => {
  const lines = [...document.querySelectorAll('iframe')].map(frame => {
    const page = frame.contentDocument, view = frame.contentWindow, root = page.documentElement;
    let worst = [99, ''];
    const walker = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT);
    for (let node; (node = walker.nextNode());) {
      const element = node.parentElement, style = view.getComputedStyle(element);
      if (!node.textContent.trim() || !element.getClientRects().length) continue;
      const under = behind(element, view);
      const colour = element instanceof view.SVGElement ? style.fill : style.color;
      const [a, b] = [light(over(channels(colour), under)), light(under)];
      const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      if (contrast < worst[0]) worst = [contrast, node.textContent.trim().slice(0, 60)];
    }
    const beside = [...page.querySelectorAll('.pairs tr')].filter(row =>
      row.cells[1].getBoundingClientRect().top < row.cells[0].getBoundingClientRect().bottom - 1).length;
    return [root.scrollWidth, root.clientWidth, worst[0].toFixed(2), worst[1], behind(page.body, view), beside].join('\t');
  });
  document.body.textContent = 'MEASURED\n' + lines.join('\n') + '\nMEASURED';
};
"#;

/// What was measured in one view.
struct View<'a> {
    /// All of it in words.
    said: String,
    scroll: u32,
    client: u32,
    contrast: f64,
    background: &'a str,
    beside: u32,
}

/// Fails where the page has to be scrolled sideways, is too pale, has more than one column on a phone, or looks the same in the dark.
/// Nothing where there is no browser.
pub(crate) fn check_look(html: &str) {
    let Some(chromium) = program("chromium") else {
        return;
    };
    let folder = TempDir::with_prefix("wsgi-gateway-browser-").unwrap();
    let source = html.replace('&', "&amp;").replace('"', "&quot;");
    let frames: String = VIEWS
        .iter()
        .map(|(width, scheme)| {
            format!(
                "<iframe style=\"border: 0; width: {width}px; height: 844px; color-scheme: {scheme}\" srcdoc=\"{source}\"></iframe>\n"
            )
        })
        .collect();
    let page = folder.path().join("page.html");
    let whole = format!(
        "<!DOCTYPE html><meta charset=\"utf-8\"><script>{MEASURE}</script><body>{frames}</body>"
    );
    std::fs::write(&page, whole).unwrap();
    let mut command = Command::new(chromium);
    command
        // A container may have little shared memory, or none.
        .args(["--headless=new", "--disable-gpu", "--disable-dev-shm-usage"])
        .arg("--dump-dom")
        .arg("--timeout=30000")
        .arg(format!("--user-data-dir={}", folder.path().display()))
        .env("HOME", folder.path())
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    if geteuid().is_root() {
        command.arg("--no-sandbox");
    }
    let output = command
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8(output.stdout).unwrap();
    let measured = dom.split("MEASURED\n").nth(1).unwrap_or_default();
    let views: Vec<View<'_>> = measured.lines().zip(VIEWS).map(view).collect();
    assert_eq!(views.len(), VIEWS.len(), "{}: {dom}", output.status);
    for view in &views {
        assert!(
            view.scroll <= view.client,
            "scrolls sideways: {}",
            view.said
        );
        assert!(view.contrast >= CONTRAST, "too pale: {}", view.said);
        assert!(
            view.client > 400 || view.beside == 0,
            "columns: {}",
            view.said
        );
    }
    assert_ne!(views[0].background, views[1].background, "no dark page");
}

fn view<'a>((line, (width, scheme)): (&'a str, (u32, &str))) -> View<'a> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [scroll, client, contrast, text, background, beside] = columns[..] else {
        panic!("{line}");
    };
    View {
        said: format!(
            "{scheme}, {width} pixels: {scroll} of {client}, {contrast} to 1 for {text:?} on {background}, {beside} beside"
        ),
        scroll: scroll.parse().unwrap(),
        client: client.parse().unwrap(),
        contrast: contrast.parse().unwrap(),
        background,
        beside: beside.parse().unwrap(),
    }
}

#[test]
fn a_page_that_is_too_wide_or_too_pale_is_found() {
    let wrong = |body: &str| {
        let page = format!(
            "<style>:root {{ color-scheme: light dark }} body {{ background: Canvas }}</style>{body}"
        );
        let looked = std::panic::catch_unwind(|| check_look(&page));
        let message = looked
            .err()
            .map(|error| *error.downcast::<String>().unwrap());
        message.unwrap_or_default()
    };
    if program("chromium").is_none() {
        return;
    }
    assert!(wrong("<div style=\"width: 30rem\">wide</div>").contains("sideways"));
    assert!(wrong("<p style=\"color: #888\">pale</p>").contains("for \"pale\" on"));
}
