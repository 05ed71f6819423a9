//! Where messages live, and how topics are kept: `[messages]`, `[topic."NAME"]`.

use super::{TOPICS_MAX, boundary, monitor, schema, table::Table, value::Value};
use crate::{
    messages::{BUS_BYTES_RANGE, DEDUP_RANGE, KEEP_RANGE, MessagesPolicy, NatsServer, TopicDeclaration},
    monitor::SecretText,
    units,
};

/// The longest URL of a server, in bytes.
const URL_LENGTH_MAX: usize = 1024;

pub(super) fn read(value: Value<'_>) -> MessagesPolicy {
    let Some(table) = value.table(&schema::MESSAGES) else { return MessagesPolicy::default() };
    let credential = credential(&table, "nats");
    let url = table.get("nats").and_then(nats_url);
    MessagesPolicy { nats: url.map(|url| NatsServer { url, credential }) }
}

/// Where the credential stands for the server that a key names: in the file it would be everybody's.
pub(super) fn credential(table: &Table<'_>, server: &'static str) -> Option<SecretText> {
    let value = table.get("credential")?;
    if !table.has(server) {
        table.fault(format!("`credential` without `{server}`"), "name the server that it is for, or remove it");
    }
    match SecretText::parse(value.text()?) {
        at @ SecretText::At(_) => Some(at),
        SecretText::Plain(_) => {
            value.refuse("`credential` is not the place of a secret", "write \"env:NAME\" or \"file:PATH\"")
        }
    }
}

/// A URL, which is not told again where it is wrong: it may hold a password.
fn nats_url(value: Value<'_>) -> Option<String> {
    let text = value.text()?;
    let rest = ["nats://", "tls://"].iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or_default();
    let is_plain = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"@/?#".contains(&byte));
    if is_plain && text.len() <= URL_LENGTH_MAX {
        return Some(text.to_owned());
    }
    let help = "write \"nats://HOST:PORT\", or \"tls://HOST:PORT\"; who asks is said by `credential`";
    value.refuse("`nats` is not the URL of a NATS server", help)
}

pub(super) fn topics(value: Value<'_>) -> Vec<TopicDeclaration> {
    value.entries(&schema::TOPIC_ENTRY, TOPICS_MAX).into_iter().filter_map(topic).collect()
}

fn topic(entry: Value<'_>) -> Option<TopicDeclaration> {
    let name = boundary::topic_name(entry.key()).map_err(|_| {
        let message = format!("{} is not the name of a topic", entry.key_quoted());
        entry.fault_key(message, "write it in quotes, of a-z, 0-9 and inner . _ -: `[topic.\"order.placed\"]`");
    });
    let table = entry.table(&schema::TOPIC)?;
    let default = TopicDeclaration::new(String::new(), entry.key_position());
    let (least, most) = KEEP_RANGE;
    let keep = monitor::duration(&table, "keep", &(least..=most)).unwrap_or(default.keep);
    let (least, most) = DEDUP_RANGE;
    let dedup = monitor::duration(&table, "dedup", &(least..=most)).unwrap_or(default.dedup);
    let bytes_max = table.get("bytes_max").and_then(bytes_max).unwrap_or(default.bytes_max);
    Some(TopicDeclaration { keep, bytes_max, dedup, ..TopicDeclaration::new(name.ok()?, entry.key_position()) })
}

fn bytes_max(value: Value<'_>) -> Option<u64> {
    let bytes = value.parsed("a size", units::parse_bytes)?;
    let (least, most) = BUS_BYTES_RANGE;
    if (least..=most).contains(&bytes) {
        return Some(bytes);
    }
    value.refuse(format!("{} is out of range", value.key_quoted()), "write a size from 4 MiB to 1024 GiB")
}
