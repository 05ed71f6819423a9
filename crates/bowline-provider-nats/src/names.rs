//! How topics and groups are called in NATS, where names have no dots.

use bowline_messaging::Error;

/// The longest prefix, in bytes.
const PREFIX_BYTES_MAX: usize = 32;

/// Names in NATS: all begin with one prefix, so that several systems share a server.
///
/// A dot becomes `=`, which no name of a topic or a group has; the prefix has no `_`. So no two meet in one name.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    prefix: String,
}

impl Names {
    pub(crate) fn new(prefix: &str) -> Result<Self, Error> {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if prefix.is_empty() || prefix.len() > PREFIX_BYTES_MAX || !prefix.bytes().all(is_letter) {
            return Err(Error::Invalid {
                what: "prefix",
                rule: "it has 1 to 32 of the characters a-z, A-Z, 0-9 and `-`",
            });
        }
        Ok(Self { prefix: prefix.to_owned() })
    }

    /// The stream of a topic's messages.
    pub(crate) fn messages(&self, topic: &str) -> String {
        format!("{}_messages_{}", self.prefix, token(topic))
    }

    /// The stream of a topic's dead letters.
    pub(crate) fn letters(&self, topic: &str) -> String {
        format!("{}_dead_{}", self.prefix, token(topic))
    }

    /// The stream of what all groups did.
    pub(crate) fn groups(&self) -> String {
        format!("{}_groups", self.prefix)
    }

    /// The topic whose messages a stream has.
    pub(crate) fn topic_of(&self, stream: &str) -> Option<String> {
        let rest = stream.strip_prefix(&self.prefix)?.strip_prefix("_messages_")?;
        Some(name(rest))
    }

    pub(crate) fn messages_subject(&self, topic: &str) -> String {
        format!("{}.messages.{}", self.prefix, token(topic))
    }

    pub(crate) fn letters_subject(&self, topic: &str) -> String {
        format!("{}.dead.{}", self.prefix, token(topic))
    }

    pub(crate) fn group_subject(&self, topic: &str, group: &str) -> String {
        format!("{}.groups.{}.{}", self.prefix, token(topic), token(group))
    }

    /// The subjects of all groups.
    pub(crate) fn groups_subject(&self) -> String {
        format!("{}.groups.>", self.prefix)
    }

    /// The topic and the group that a subject is of.
    pub(crate) fn group_of(&self, subject: &str) -> Option<(String, String)> {
        let rest = subject.strip_prefix(&self.prefix)?.strip_prefix(".groups.")?;
        let (topic, group) = rest.split_once('.')?;
        Some((name(topic), name(group)))
    }
}

fn token(name: &str) -> String {
    name.replace('.', "=")
}

fn name(token: &str) -> String {
    token.replace('=', ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_again() {
        let names = Names::new("bowline").unwrap();
        assert_eq!(names.messages("order.placed_v2"), "bowline_messages_order=placed_v2");
        assert_eq!(names.topic_of("bowline_messages_order=placed_v2").as_deref(), Some("order.placed_v2"));
        assert_eq!(names.topic_of("bowline_dead_order=placed"), None);
        assert_eq!(names.topic_of("bowline2_messages_x"), None);
        let subject = names.group_subject("order.placed", "mail.sender");
        assert_eq!(names.group_of(&subject), Some(("order.placed".to_owned(), "mail.sender".to_owned())));
    }

    #[test]
    fn a_prefix_has_no_separators() {
        for bad in ["", "a.b", "a_b", "a b", "*"] {
            assert!(Names::new(bad).is_err(), "{bad}");
        }
    }
}
