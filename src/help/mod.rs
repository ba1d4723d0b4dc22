//! What there is to read besides the commands' own help: a topic a file, written in Markdown, which the program has in itself, shows
//! in a terminal and makes manual pages of. Nothing here knows what the program does.

mod manual;
mod page;
mod terminal;

use page::{PageBlock, PageText};

/// Something to read.
#[derive(Clone, Copy, Debug)]
pub struct Topic {
    /// What it is asked for by.
    pub name: &'static str,
    markdown: &'static str,
}

macro_rules! topics {
    ($($name:literal)*) => {
        [$(Topic { name: $name, markdown: include_str!(concat!($name, ".md")) }),*]
    };
}

/// All topics, in the order in which a newcomer needs them.
pub const TOPICS: [Topic; 10] = topics! {
    "applications" "cgi-scripts" "prefixes" "processes" "operations" "options" "troubleshooting" "coming" "surprises" "fastcgi-crate"
};

impl Topic {
    /// The topic of this name.
    pub fn named(name: &str) -> Option<Self> {
        TOPICS.into_iter().find(|topic| topic.name == name)
    }

    /// What it is about, in a few words: the file's heading.
    pub fn title(self) -> String {
        let title = self.parts().0;
        title.iter().map(PageText::words).collect()
    }

    /// The file as it is written.
    pub fn markdown(self) -> &'static str {
        self.markdown
    }

    /// The page for a terminal: plain text of 80 columns, but for lines that are typed or shown as they are.
    pub fn text(self) -> String {
        terminal::text(&page::read(self.markdown))
    }

    /// The page of the manual, for section 7, with the version and the day that it is of.
    pub fn manual(self, version: &str, day: &str) -> String {
        let (title, page) = (self.title(), self.parts().1);
        manual::roff([&self.manual_name(), &title, version, day], &page)
    }

    /// The name of the manual's page.
    pub fn manual_name(self) -> String {
        format!("wsgi-gateway-{}", self.name)
    }

    /// The heading, and what follows it.
    fn parts(self) -> (Vec<PageText>, Vec<PageBlock>) {
        let mut blocks = page::read(self.markdown).into_iter();
        match blocks.next() {
            Some(PageBlock::Heading(1, title)) => (title, blocks.collect()),
            _ => (Vec::new(), Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{TOPICS, Topic};

    #[test]
    fn every_topic_is_a_page_of_plain_text() {
        for topic in TOPICS {
            let title = topic.title();
            assert!((10..=62).contains(&title.len()), "{}: {title}", topic.name);
            let markdown = topic.markdown();
            assert!(markdown.is_ascii(), "{}", topic.name);
            let wide = |line: &&str| line.len() > 140 && !line.starts_with('|');
            assert_eq!(markdown.lines().find(wide), None, "{}", topic.name);
            let text = topic.text();
            assert!(!text.contains("<!--"), "{}", topic.name);
            let wide = text.lines().find(|line| line.len() > 100);
            assert_eq!(wide, None, "{}", topic.name);
        }
    }

    #[test]
    fn links_between_topics_lead_somewhere() {
        for topic in TOPICS {
            let links = topic.markdown().split("](").skip(1);
            for link in links.filter_map(|rest| rest.split([')', '#']).next()) {
                let name = link.strip_suffix(".md").filter(|name| !name.contains('/'));
                let is_known = name.is_none_or(|name| Topic::named(name).is_some());
                assert!(is_known, "{}: {link}", topic.name);
            }
        }
    }
}
