//! What a worker may say, free of status codes and of any caller's contract.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

/// A decision about one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Let the person go on; the caller takes the claims over.
    Continue(ReturnedClaims),
    /// Stop the person and show the message.
    ShowBlockPage(UserMessage),
    /// Show the message at the form, so that the person can correct it.
    ValidationError(UserMessage),
}

impl Decision {
    /// The kind of this decision.
    pub fn action(&self) -> Action {
        match self {
            Decision::Continue(_) => Action::Continue,
            Decision::ShowBlockPage(_) => Action::ShowBlockPage,
            Decision::ValidationError(_) => Action::ValidationError,
        }
    }

    /// The bytes that it takes: claims that are pushed one by one may have twice the room.
    pub fn bytes(&self) -> usize {
        match self {
            Decision::Continue(claims) => claims.members.capacity(),
            Decision::ShowBlockPage(message) | Decision::ValidationError(message) => {
                message.as_str().len()
            }
        }
    }
}

/// The kind of a decision. Without regard to case, the names are those of the callers' contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// See [`Decision::Continue`].
    Continue,
    /// See [`Decision::ShowBlockPage`].
    ShowBlockPage,
    /// See [`Decision::ValidationError`].
    ValidationError,
}

impl Action {
    /// The action with this name in the callers' contract, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        [Action::Continue, Action::ShowBlockPage, Action::ValidationError]
            .into_iter()
            .find(|action| action.name().eq_ignore_ascii_case(name))
    }

    /// The name in the callers' contract.
    pub fn name(self) -> &'static str {
        match self {
            Action::Continue => "Continue",
            Action::ShowBlockPage => "ShowBlockPage",
            Action::ValidationError => "ValidationError",
        }
    }

    /// The value of a metric's or log line's label.
    pub fn label(self) -> &'static str {
        match self {
            Action::Continue => "continue",
            Action::ShowBlockPage => "show_block_page",
            Action::ValidationError => "validation_error",
        }
    }
}

/// Claims fit to return: strings, booleans and numbers, each name once, each value exactly as the
/// worker wrote it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ReturnedClaims {
    /// `"name":value` pairs, joined by commas: what stands between the braces.
    members: String,
}

impl ReturnedClaims {
    /// Adds a claim. Only [`super::reply`] does so, after it has checked the value.
    pub(super) fn push(&mut self, name: &str, value: &str) {
        let name = json_string(name);
        self.members.reserve(1 + name.len() + 1 + value.len());
        if !self.members.is_empty() {
            self.members.push(',');
        }
        self.members.push_str(&name);
        self.members.push(':');
        self.members.push_str(value);
    }

    /// `"name":value` pairs joined by commas, empty without claims.
    pub fn members(&self) -> &str {
        &self.members
    }
}

/// Claims are personal data: how many bytes, never which.
impl fmt::Debug for ReturnedClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReturnedClaims({} bytes)", self.members.len())
    }
}

/// The most Unicode characters of a message that are passed on; the rest is cut.
pub const MESSAGE_CHARS_MAX: usize = 2_000;

/// Text for the person who signs up: never blank, at most [`MESSAGE_CHARS_MAX`] characters.
#[derive(Clone, PartialEq, Eq)]
pub struct UserMessage(Cow<'static, str>);

impl UserMessage {
    /// What a fallback says where nothing else is configured.
    pub const COULD_NOT_CHECK: Self =
        Self(Cow::Borrowed("We could not check your request. Please try again in a few minutes."));

    /// What is said about a required claim where nothing else is configured.
    pub const FILL_IN_ALL: Self = Self(Cow::Borrowed("Please fill in all fields."));

    /// `None` for a text that is empty or only white space. A longer text is cut.
    pub fn parse(text: &str) -> Option<Self> {
        let end = text.char_indices().nth(MESSAGE_CHARS_MAX).map_or(text.len(), |(at, _)| at);
        let text = text.get(..end)?;
        (!text.trim().is_empty()).then(|| Self(Cow::Owned(text.to_owned())))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A worker's message may quote claims.
impl fmt::Debug for UserMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserMessage({} bytes)", self.0.len())
    }
}

/// `text` as a JSON string, with its quotes. Every text can be one.
pub(super) fn json_string(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_never_blank_and_cut_at_2000_characters_not_bytes() {
        for blank in ["", " ", "\r\n\t", "\u{a0}\u{2003}"] {
            assert_eq!(UserMessage::parse(blank), None, "{blank:?}");
        }
        let kept = "<b>\r\n".to_owned() + &"é".repeat(1_995);
        assert_eq!(UserMessage::parse(&kept).unwrap().as_str(), kept);
        assert_eq!(UserMessage::parse(&(kept.clone() + "é")).unwrap().as_str(), kept);
    }
}
