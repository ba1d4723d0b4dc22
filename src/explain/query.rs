//! What the client asks of the explanation, in the query and by its Accept header: how it is written down, and whether to try something
//! out that a request by itself does not show.

use crate::gateway::Variables;

/// How the explanation is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Html,
    Json,
    Text,
}

/// What is to be tried out with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// Whether an Authorization header arrives: the client is asked for one.
    Authorization,
    /// Whether a large head comes through.
    Head,
}

impl Format {
    /// `?format=json`, else by the Accept header. What a terminal shows is plain text.
    pub(super) fn of(variables: &Variables) -> Self {
        let by_name = |word: &[u8]| match word {
            b"format=html" => Some(Self::Html),
            b"format=json" => Some(Self::Json),
            b"format=text" => Some(Self::Text),
            _ => None,
        };
        let accept = variables.get(b"HTTP_ACCEPT").unwrap_or_default();
        let accepts = |kind: &[u8]| accept.windows(kind.len()).any(|part| part == kind);
        words(variables).find_map(by_name).unwrap_or_else(|| {
            if accepts(b"text/html") {
                Self::Html
            } else if accepts(b"application/json") {
                Self::Json
            } else {
                Self::Text
            }
        })
    }
}

impl Check {
    /// `?check=head`, for example.
    pub(super) fn of(variables: &Variables) -> Option<Self> {
        words(variables).find_map(|word| match word {
            b"check=authorization" => Some(Self::Authorization),
            b"check=head" => Some(Self::Head),
            _ => None,
        })
    }
}

fn words(variables: &Variables) -> impl Iterator<Item = &[u8]> {
    let query = variables.get(b"QUERY_STRING").unwrap_or_default();
    query.split(|&byte| byte == b'&')
}
