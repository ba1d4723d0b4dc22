//! The pages that the gateway answers with itself: plain text, short, no secrets.

use super::Head;

/// A response of the gateway's own.
#[derive(Clone, Debug)]
pub struct Page {
    /// The status line, `503 Service Unavailable`.
    pub status: &'static str,
    /// One or two sentences for the person at the browser.
    pub text: String,
    /// Seconds after which the client may try again (RFC 9110 section 10.2.3).
    pub retry_after: Option<u32>,
}

impl Page {
    /// A page with this status and text.
    pub fn new(status: &'static str, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
            retry_after: None,
        }
    }

    /// What the browser is told when there is no application: without it web servers say "premature end of script headers".
    /// `reason`: what an operator is shown on the page.
    pub fn not_started(reason: Option<&str>) -> Self {
        let text = reason.unwrap_or(
            "The application could not be started. The web server's error log has the reason.",
        );
        Self::new("500 Internal Server Error", text.trim_end())
    }

    /// The page with the id of the request that it answers, for who is asked what has happened.
    pub fn with_id(mut self, id: &str) -> Self {
        self.text = format!("{}\n\nRequest id: {id}", self.text.trim_end());
        self
    }

    /// The status code.
    pub fn code(&self) -> u16 {
        let digits = self.status.get(..3);
        digits.and_then(|digits| digits.parse().ok()).unwrap_or(500)
    }

    /// The page as a response's head and body.
    pub fn render(&self) -> (Head, Vec<u8>) {
        let body = format!("{}\n\n{}\n", self.status, self.text).into_bytes();
        let mut fields = vec![
            ("Content-Type", "text/plain; charset=utf-8".to_owned()),
            ("Content-Length", body.len().to_string()),
            ("Cache-Control", "no-store".to_owned()),
        ];
        if let Some(seconds) = self.retry_after {
            fields.push(("Retry-After", seconds.to_string()));
        }
        let head = Head::new(self.status.as_bytes()).and_then(|mut head| {
            for (name, value) in &fields {
                head.field(name.as_bytes(), value.as_bytes())?;
            }
            Ok(head)
        });
        (head.expect("the gateway's own pages are well-formed"), body)
    }
}
