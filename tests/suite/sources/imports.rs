//! Reads a Rust source as text and finds every path that it mentions, in `use` and in code. For `floors`;
//! it judges nothing, and it does not run the macros of a source, only reads through them.

/// One file.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) floor: String,
    pub(crate) mentions: Vec<Mention>,
    /// Ways around the reading of paths.
    pub(crate) tricks: Vec<&'static str>,
}

/// A path in the source: of a `use`, or in the code.
pub(crate) struct Mention {
    /// The module in which it stands.
    pub(crate) module: Vec<String>,
    pub(crate) path: Vec<String>,
    /// What a `use` calls it there; `*` for all that is in it.
    pub(crate) name: Option<String>,
    pub(crate) public: bool,
    pub(crate) line: usize,
}

/// Reads one file, given with its path below `src/`.
pub(crate) fn read(path: &str, text: &str) -> Source {
    let mut module: Vec<String> = path
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_owned)
        .collect();
    let floor = module[0].clone();
    // `main` is a crate of its own: its root is not that of the library.
    if ["lib", "mod"].contains(&module[module.len() - 1].as_str()) {
        module.pop();
    }
    let tokens = tokens(text);
    let at = |index: usize| tokens.get(index).map_or("", |(token, _)| token.as_str());
    let (mut mentions, mut tricks) = (Vec::new(), Vec::new());
    // The depths of braces at which the modules inside this file began.
    let (mut depth, mut inner) = (0, Vec::new());
    let mut index = 0;
    while index < tokens.len() {
        let (here, next) = (at(index), at(index + 1));
        let before = |back: usize| if index < back { "" } else { at(index - back) };
        match here {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if inner.last() == Some(&depth) {
                    inner.pop();
                    module.pop();
                }
            }
            "mod" if at(index + 2) == "{" => {
                module.push(next.to_owned());
                inner.push(depth);
                index += 1;
            }
            "path" if before(1) == "[" && next == "=" => tricks.push("#[path]"),
            "include" if next == "!" => tricks.push("include!"),
            "use" if next != "<" => {
                let public = before(1) == "pub" || before(1) == ")";
                let mut found = Vec::new();
                index = tree(&tokens, index + 1, &[], &mut found);
                mentions.extend(found.into_iter().map(|(path, name, line)| Mention {
                    module: module.clone(),
                    path,
                    name: Some(name),
                    public,
                    line,
                }));
                continue;
            }
            "extern" if next == "crate" => {
                mentions.push(mention(
                    &module,
                    vec![at(index + 2).to_owned()],
                    tokens[index].1,
                ));
                index += 2;
            }
            _ if is_word(here)
                && before(1) != "."
                && !(before(1) == "::" && is_word(before(2))) =>
            {
                let line = tokens[index].1;
                let mut path = vec![here.to_owned()];
                while at(index + 1) == "::" && is_word(at(index + 2)) {
                    path.push(at(index + 2).to_owned());
                    index += 2;
                }
                if path.len() > 1 {
                    mentions.push(mention(&module, path, line));
                }
            }
            _ => {}
        }
        index += 1;
    }
    Source {
        path: path.to_owned(),
        floor,
        mentions,
        tricks,
    }
}

fn mention(module: &[String], path: Vec<String>, line: usize) -> Mention {
    Mention {
        module: module.to_vec(),
        path,
        name: None,
        public: false,
        line,
    }
}

/// Reads one tree of a `use` declaration from `index` on: paths, the names that they get, their lines.
/// Returns the index of what follows it.
fn tree(
    tokens: &[(String, usize)],
    mut index: usize,
    stem: &[String],
    found: &mut Vec<(Vec<String>, String, usize)>,
) -> usize {
    let mut path = stem.to_vec();
    while let Some((token, line)) = tokens.get(index) {
        index += 1;
        match token.as_str() {
            "::" => {}
            "{" => {
                while tokens.get(index).is_some_and(|(token, _)| token != "}") {
                    index = tree(tokens, index, &path, found);
                    if tokens.get(index).is_some_and(|(token, _)| token == ",") {
                        index += 1;
                    }
                }
                return index + 1;
            }
            word => {
                // `a::{self}` is `a`.
                if word != "self" || path.is_empty() {
                    path.push(word.to_owned());
                }
                if tokens.get(index).is_some_and(|(token, _)| token == "::") {
                    continue;
                }
                let mut name = path[path.len() - 1].clone();
                if tokens.get(index).is_some_and(|(token, _)| token == "as") {
                    name.clone_from(&tokens[index + 1].0);
                    index += 2;
                }
                found.push((path, name, *line));
                return index;
            }
        }
    }
    index
}

fn is_word(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// The words, `::` and other signs of a source with their lines; no comments, no text in quotes.
fn tokens(text: &str) -> Vec<(String, usize)> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let length = if first.is_whitespace() {
            first.len_utf8()
        } else if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            comment(rest)
        } else if let Some(length) = quoted(rest) {
            // Keeps what stands before and behind it apart.
            tokens.push(("\"".to_owned(), line));
            length
        } else if first.is_alphanumeric() || first == '_' {
            rest = rest.strip_prefix("r#").unwrap_or(rest);
            let length = word(rest);
            tokens.push((rest[..length].to_owned(), line));
            length
        } else {
            let length = if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            tokens.push((rest[..length].to_owned(), line));
            length
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

fn word(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len())
}

/// The length of the block comment that begins the text; they nest.
fn comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length of the string, character or lifetime that begins the text.
fn quoted(text: &str) -> Option<usize> {
    // Most of a source does not begin so, and the rest of this takes its time.
    if !text.starts_with(['b', 'c', 'r', '#', '"', '\'']) {
        return None;
    }
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| {
        let behind = text
            .strip_prefix(prefix)
            .unwrap_or("")
            .trim_start_matches('#');
        behind.starts_with('"') || (behind.starts_with('\'') && !prefix.contains(['r', 'c']))
    })?;
    let behind = &text[prefix.len()..];
    let hashes = behind.len() - behind.trim_start_matches('#').len();
    if prefix.contains('r') {
        let close = format!("\"{}", &behind[..hashes]);
        let open = prefix.len() + hashes + 1;
        return Some(
            text[open..]
                .find(&close)
                .map_or(text.len(), |at| open + at + close.len()),
        );
    }
    if hashes > 0 {
        return None;
    }
    let quote = behind.chars().next()?;
    let mut inside = behind[1..].char_indices();
    let second = behind.chars().nth(2);
    if quote == '\'' && !behind[1..].starts_with('\\') && second != Some('\'') {
        // A lifetime.
        return Some(prefix.len() + 1 + word(&behind[1..]));
    }
    while let Some((at, c)) = inside.next() {
        if c == '\\' {
            inside.next();
        } else if c == quote {
            return Some(prefix.len() + 1 + at + 1);
        }
    }
    Some(text.len())
}
