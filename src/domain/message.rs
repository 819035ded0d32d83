//! A connector's own messages, in the language that the person asks for.

use super::decision::UserMessage;

/// One message in several languages, and one for everybody else.
#[derive(Clone, Debug)]
pub struct Messages {
    default: UserMessage,
    /// Language tags in lower case.
    by_language: Vec<(String, UserMessage)>,
}

impl Messages {
    /// `default` for everyone who asks for none of the languages in `by_language`.
    pub fn new(default: UserMessage, by_language: Vec<(String, UserMessage)>) -> Self {
        let lower = |(tag, message): (String, UserMessage)| (tag.to_ascii_lowercase(), message);
        Self { default, by_language: by_language.into_iter().map(lower).collect() }
    }

    /// The messages that are only for some languages, by language tag.
    pub fn by_language(&self) -> impl Iterator<Item = (&str, &UserMessage)> {
        self.by_language.iter().map(|(tag, message)| (&**tag, message))
    }

    /// The message for these `ui_locales`: language ranges in order of preference, separated by
    /// white space or commas. Each is looked up as RFC 4647, section 3.4, says.
    pub fn pick(&self, ui_locales: Option<&str>) -> &UserMessage {
        let ranges = ui_locales.unwrap_or_default().split(|c: char| c.is_whitespace() || c == ',');
        ranges.filter_map(|range| self.look_up(range)).next().unwrap_or(&self.default)
    }

    fn look_up(&self, range: &str) -> Option<&UserMessage> {
        let range = range.split(';').next()?.to_ascii_lowercase();
        let mut range = &*range;
        loop {
            if let Some((_, message)) = self.by_language.iter().find(|(tag, _)| tag == range) {
                return Some(message);
            }
            (range, _) = range.rsplit_once('-')?;
            // A single letter or digit introduces the subtag behind it, and goes with it.
            if let Some((rest, last)) = range.rsplit_once('-')
                && last.len() == 1
            {
                range = rest;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_range_that_leads_to_a_language_wins() {
        let message = |text| UserMessage::parse(text).unwrap();
        let languages = ["de", "pt-BR", "zh-Hant"].map(|tag| (tag.to_owned(), message(tag)));
        let messages = Messages::new(message("default"), languages.to_vec());
        let rows = [
            (None, "default"),
            (Some(""), "default"),
            (Some("de"), "de"),
            (Some("DE-at"), "de"),
            (Some("de-AT-1996-x-y"), "de"),
            (Some("pt-br"), "pt-BR"),
            (Some("pt"), "default"),
            (Some("pt-PT"), "default"),
            (Some("zh-Hant-CN-x-private1"), "zh-Hant"),
            (Some("zh-Hant-x-a"), "zh-Hant"),
            (Some("fr-FR de-DE"), "de"),
            (Some("fr,de;q=0.5"), "de"),
            (Some("*"), "default"),
            (Some("\u{0}\r\n%"), "default"),
        ];
        for (locales, text) in rows {
            assert_eq!(messages.pick(locales).as_str(), text, "{locales:?}");
        }
    }
}
