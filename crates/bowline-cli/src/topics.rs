//! The topics of a system: made, or kept as the file says from now on.

use anyhow::Context as _;
use bowline_messaging::{MessageBus, TopicSettings};
use bowline_model::{System, messages::TopicDeclaration};

/// Declares every topic that the system has. Topics that it had before stay, with what is in them.
pub(crate) async fn declare(system: &System, bus: &dyn MessageBus) -> anyhow::Result<()> {
    for (name, TopicDeclaration { keep, bytes_max, dedup, .. }) in system.all_topics() {
        let declared = bus.declare(&name, TopicSettings { keep, bytes_max, dedup }).await;
        declared.with_context(|| format!("cannot make the topic `{name}`"))?;
    }
    Ok(())
}
