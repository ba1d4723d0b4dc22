//! What of a request's variables may be shown, and how: names tell what is secret.

/// The variables of RFC 3875 section 4.1, and those that web servers add.
const KNOWN: [&str; 46] = [
    "AUTH_TYPE",
    "CONTENT_LENGTH",
    "CONTENT_TYPE",
    "CONTEXT_DOCUMENT_ROOT",
    "CONTEXT_PREFIX",
    "DOCUMENT_ROOT",
    "DOCUMENT_URI",
    "ERROR_NOTES",
    "FCGI_ROLE",
    "GATEWAY_INTERFACE",
    "H2PUSH",
    "H2_PUSH",
    "HANDLER",
    "HTTP2",
    "HTTPS",
    "PATH_INFO",
    "PATH_TRANSLATED",
    "QUERY_STRING",
    "REMOTE_ADDR",
    "REMOTE_HOST",
    "REMOTE_IDENT",
    "REMOTE_PORT",
    "REMOTE_USER",
    "REQUEST_METHOD",
    "REQUEST_SCHEME",
    "REQUEST_URI",
    "SCRIPT_FILENAME",
    "SCRIPT_NAME",
    "SCRIPT_URI",
    "SCRIPT_URL",
    "SERVER_ADDR",
    "SERVER_ADMIN",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PORT_SECURE",
    "SERVER_PROTOCOL",
    "SERVER_SIGNATURE",
    "SERVER_SOFTWARE",
    "SSL_CIPHER",
    "SSL_PROTOCOL",
    "SSL_TLS_SNI",
    "STATUS",
    "UNENCODED_URL",
    "UNIQUE_ID",
    "URL",
    "X_FORWARDED_FOR",
];

/// Whether a variable comes from a web server, and not from the environment of this process. Apache puts REDIRECT_ before
/// what it had set when it went on to another URL, and what `SetEnv` sets is among that.
pub(super) fn is_of_a_web_server(name: &[u8]) -> bool {
    let mut name = name;
    while let Some(rest) = name.strip_prefix(b"REDIRECT_") {
        name = rest;
    }
    name.starts_with(b"HTTP_") || KNOWN.iter().any(|known| known.as_bytes() == name)
}

/// Words in the name of a variable whose value nobody is to read.
const SECRET: [&str; 13] = [
    "APIKEY",
    "API_KEY",
    "ACCESS_KEY",
    "AUTHORIZATION",
    "COOKIE",
    "CREDENTIAL",
    "CSRF",
    "PASSWD",
    "PASSWORD",
    "PRIVATE",
    "SECRET",
    "SESSION",
    "TOKEN",
];

/// Whether a variable's value is not shown.
pub(super) fn is_secret(name: &[u8]) -> bool {
    let name = name.to_ascii_uppercase();
    let has = |word: &&str| name.windows(word.len()).any(|part| part == word.as_bytes());
    SECRET.iter().any(has)
        || name.ends_with(b"_KEY")
        || name.ends_with(b"_PASS")
        || name.ends_with(b"_PW")
        || name.ends_with(b"_AUTH")
}

/// Whether a value is the URL of something that takes a name or a password: what a web server is told to set (`SetEnv DATABASE_URL`) and
/// sends with each request.
pub(super) fn has_credentials(value: &[u8]) -> bool {
    let Some(scheme) = value.windows(3).position(|part| part == b"://") else {
        return false;
    };
    let rest = &value[scheme + 3..];
    let end = rest.iter().position(|byte| b"/?#".contains(byte));
    rest[..end.unwrap_or(rest.len())].contains(&b'@')
}

/// What stands for a secret: enough to see that it has arrived.
pub(super) fn hidden(name: &[u8], value: &[u8]) -> String {
    // "Basic", "Bearer", "Digest" ...: that much is no secret, and often the question.
    let scheme = name
        .ends_with(b"AUTHORIZATION")
        .then(|| value.iter().position(|&byte| byte == b' '))
        .flatten()
        .map(|end| &value[..end])
        .filter(|scheme| scheme.len() < 16 && scheme.iter().all(u8::is_ascii_alphanumeric));
    let scheme = scheme.map_or(String::new(), |scheme| {
        format!("{} ", String::from_utf8_lossy(scheme))
    });
    format!("{scheme}(hidden, {} bytes)", value.len() - scheme.len())
}

/// Bytes as a person may read them: UTF-8 where it is, escapes for what is not and for what would not show.
pub(super) fn readable(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character == '\\' {
                out.push_str("\\\\");
            } else if character.is_control() || turns_text(character) {
                out.extend(character.escape_default());
            } else {
                out.push(character);
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// Whether a character changes the direction of the text around it, or cannot be seen.
fn turns_text(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::{has_credentials, hidden, is_of_a_web_server, is_secret, readable};

    #[test]
    fn names_tell_what_is_secret() {
        for name in [
            "HTTP_COOKIE",
            "HTTP_AUTHORIZATION",
            "REDIRECT_HTTP_AUTHORIZATION",
            "HTTP_PROXY_AUTHORIZATION",
            "HTTP_X_API_KEY",
            "HTTP_X_AUTH_TOKEN",
            "HTTP_X_CSRFTOKEN",
            "DB_PASSWORD",
            "APP_SECRET",
            "HTTP_X_SESSION_ID",
            "secret_key",
        ] {
            assert!(is_secret(name.as_bytes()), "{name}");
        }
        for name in [
            "HTTP_HOST",
            "AUTH_TYPE",
            "REMOTE_USER",
            "PATH_INFO",
            "HTTP_KEEP_ALIVE",
        ] {
            assert!(!is_secret(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_secret_shows_that_it_is_there_and_nothing_of_itself() {
        for (name, value, shown) in [
            (
                "HTTP_AUTHORIZATION",
                "Basic dTpw",
                "Basic (hidden, 4 bytes)",
            ),
            ("HTTP_AUTHORIZATION", "dTpw", "(hidden, 4 bytes)"),
            ("HTTP_AUTHORIZATION", "", "(hidden, 0 bytes)"),
            ("HTTP_COOKIE", "a=1; b=2", "(hidden, 8 bytes)"),
        ] {
            assert_eq!(hidden(name.as_bytes(), value.as_bytes()), shown);
        }
    }

    #[test]
    fn the_url_of_a_database_is_a_secret() {
        for url in [
            "postgres://a:b@db/x",
            "https://key@host",
            "redis://:p@h:1?x",
        ] {
            assert!(has_credentials(url.as_bytes()), "{url}");
        }
        for text in ["", "://", "http://host/@", "a@b", "postgres:///x?a=b@c"] {
            assert!(!has_credentials(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn the_environment_of_the_process_is_not_the_web_servers() {
        for name in [
            "HTTP_HOST",
            "PATH_INFO",
            "REDIRECT_STATUS",
            "REDIRECT_REDIRECT_URL",
        ] {
            assert!(is_of_a_web_server(name.as_bytes()), "{name}");
        }
        for name in [
            "PATH",
            "LANG",
            "DATABASE_URL",
            "REDIRECT_DATABASE_URL",
            "LD_PRELOAD",
        ] {
            assert!(!is_of_a_web_server(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn what_does_not_show_is_escaped() {
        for (bytes, text) in [
            (&b"/caf\xc3\xa9"[..], "/caf\u{e9}"),
            (b"/caf\xe9", "/caf\\xe9"),
            (b"a\0\n\\", "a\\u{0}\\n\\\\"),
            ("\u{202e}x".as_bytes(), "\\u{202e}x"),
        ] {
            assert_eq!(readable(bytes), text);
        }
    }
}
