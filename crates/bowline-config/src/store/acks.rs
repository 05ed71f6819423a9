//! Who runs which version: keys that live by a lease.

use std::time::Duration;

use bowline_model::{ConfigKey, instance::LEASE_TTL_RANGE};
use bowline_runtime::time;
use bowline_store::{Entry, Error as StoreError, LeaseId, Txn};

use super::{ATTEMPTS_MAX, StoreConfig, entry};
use crate::{ACKS_MAX, Acknowledged, Acknowledgement, Error, Status};

impl StoreConfig {
    pub(super) async fn acknowledge(&self, key: ConfigKey, ack: Acknowledgement, ttl: Duration) -> Result<(), Error> {
        ack.check()?;
        let (min, max) = LEASE_TTL_RANGE;
        if !(min..=max).contains(&ttl) {
            return Err(Error::Invalid { what: "ttl", rule: "it is 1s to 1h" });
        }
        let head = self.head(&key).await?.head.ok_or_else(|| Error::NoDocument { key: key.clone() })?;
        if !(1..=head.last).contains(&ack.version) {
            return Err(Error::NoVersion { key, number: ack.version });
        }
        for _ in 0..ATTEMPTS_MAX {
            if self.try_acknowledge(&key, &ack, ttl).await? {
                return Ok(());
            }
        }
        Err(Error::Unavailable(None))
    }

    /// Acknowledges once; false if it changed under our hands.
    async fn try_acknowledge(&self, key: &ConfigKey, ack: &Acknowledgement, ttl: Duration) -> Result<bool, Error> {
        let store_key = entry::ack_key(key, &ack.instance);
        let before = self.0.store.get(&store_key).await.map_err(Error::Store)?;
        match &before {
            Some(before) if says(before, ack) && self.renew(before.lease).await? == Some(ttl) => return Ok(true),
            Some(_) => {}
            None => self.check_room(key).await?,
        }
        let value = Acknowledged { ack: ack.clone(), at_unix_ms: time::unix_millis_now() };
        let txn = Txn::default().when(&*store_key, entry::unchanged(before.as_ref()));
        match self.0.store.commit_leased(txn.put(store_key, entry::encode(&value)), ttl).await {
            Ok(_) => {}
            Err(StoreError::Conflict { .. }) => return Ok(false),
            Err(error) => return Err(Error::Store(error)),
        }
        if let Some(old) = before.and_then(|before| before.lease) {
            // It has no keys any more; if this fails it expires by itself.
            self.0.store.revoke(old).await.ok();
        }
        Ok(true)
    }

    /// The lifetime to which a lease was renewed; none if there is none.
    async fn renew(&self, lease: Option<LeaseId>) -> Result<Option<Duration>, Error> {
        let Some(lease) = lease else { return Ok(None) };
        let renewed = self.0.store.keep_alive(&[lease]).await.map_err(Error::Store)?;
        Ok(renewed.into_iter().next().and_then(Result::ok))
    }

    async fn check_room(&self, key: &ConfigKey) -> Result<(), Error> {
        let page = self.0.store.range(&entry::acks(key), None, ACKS_MAX).await.map_err(Error::Store)?;
        if page.entries.len() < ACKS_MAX { Ok(()) } else { Err(Error::Full { what: "acknowledgements" }) }
    }

    pub(super) async fn status(&self, key: ConfigKey) -> Result<Status, Error> {
        let head = self.head(&key).await?.head.unwrap_or_default();
        let mut instances = Vec::new();
        for kept in self.entries(&entry::acks(&key)).await? {
            if let Ok(acknowledged) = entry::decode(&kept) {
                instances.push(acknowledged);
            } else {
                tracing::warn!(key = &*kept.key, "acknowledgement cannot be read and is left out");
            }
        }
        Ok(Status { key, current: head.current.map(|version| version.summary()), instances })
    }
}

/// Whether that is what was acknowledged already.
fn says(before: &Entry, ack: &Acknowledgement) -> bool {
    entry::decode::<Acknowledged>(before).is_ok_and(|before| before.ack == *ack)
}
