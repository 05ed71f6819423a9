//! The topics of a device, and what may be a device's id.

/// The longest id of a device, in bytes.
pub const DEVICE_BYTES_MAX: usize = 64;

/// What a device says, by the topic it says it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// What it read.
    Readings,
    /// In what state it is.
    Reported,
    /// What became of commands.
    Acks,
    /// Whether it is there; retained.
    Status,
}

impl Said {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Readings, Self::Reported, Self::Acks, Self::Status];

    /// The last level of its topics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Readings => "readings",
            Self::Reported => "reported",
            Self::Acks => "acks",
            Self::Status => "status",
        }
    }

    /// Where a device says it.
    pub fn topic(self, device: &str) -> String {
        of(device, self.word())
    }

    /// What all devices say there.
    pub fn filter(self) -> String {
        of("+", self.word())
    }
}

/// Whose topic it is, and what is said there; none where no device may say anything.
pub fn parse(topic: &str) -> Option<(&str, Said)> {
    let (device, word) = topic.strip_prefix("devices/")?.split_once('/')?;
    let said = Said::ALL.into_iter().find(|said| said.word() == word)?;
    is_device(device).then_some((device, said))
}

/// Where a device says what it read.
pub fn readings(device: &str) -> String {
    Said::Readings.topic(device)
}

/// Where a device says in what state it is.
pub fn reported(device: &str) -> String {
    Said::Reported.topic(device)
}

/// Where a device says what became of commands.
pub fn acks(device: &str) -> String {
    Said::Acks.topic(device)
}

/// Where a device, or its last will, says whether it is there; retained.
pub fn status(device: &str) -> String {
    Said::Status.topic(device)
}

/// Where a device is told in what state it is to be; retained.
pub fn desired(device: &str) -> String {
    of(device, "desired")
}

/// Where a device is told what to do.
pub fn commands(device: &str) -> String {
    of(device, "commands")
}

/// Where our own broker looks for the hash of a device's token; retained.
pub fn account(device: &str) -> String {
    format!("accounts/{device}")
}

/// Whether it can be a device's id, which is part of topics: `d-`, then letters, digits, `-` and `_`.
pub fn is_device(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    id.len() <= DEVICE_BYTES_MAX
        && id.strip_prefix("d-").is_some_and(|rest| !rest.is_empty() && rest.bytes().all(is_plain))
}

fn of(device: &str, word: &str) -> String {
    format!("devices/{device}/{word}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_says_is_read_from_its_topic() {
        for (topic, said) in [
            (readings("d-1"), Said::Readings),
            (reported("d-1"), Said::Reported),
            (acks("d-1"), Said::Acks),
            (status("d-1"), Said::Status),
        ] {
            assert_eq!(parse(&topic), Some(("d-1", said)));
        }
        let others =
            ["devices/d-1", "devices/d-1/", "devices/1/readings", "devices/d-1/readings/1", "x/d-1/readings", ""];
        for topic in others.map(str::to_owned).into_iter().chain([desired("d-1"), commands("d-1"), account("d-1")]) {
            assert_eq!(parse(&topic), None, "{topic}");
        }
        assert_eq!(Said::Acks.filter(), "devices/+/acks");
    }

    #[test]
    fn an_id_is_safe_in_a_topic() {
        let longest = format!("d-{}", "x".repeat(DEVICE_BYTES_MAX - 2));
        for id in ["d-1", "d-0_a-7", &longest] {
            assert!(is_device(id), "{id}");
        }
        for id in ["d-", "d-a/b", "d-+", "d-#", "d-ä", "1", "", &format!("{longest}x")] {
            assert!(!is_device(id), "{id}");
        }
    }
}
