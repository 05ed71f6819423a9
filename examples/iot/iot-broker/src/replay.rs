//! From the journal into memory, and back: what a broker finds when it starts, and what a file of the journal begins with.

use std::{collections::BTreeMap, sync::Arc};

use rumqttc_v5::mqttbytes::QoS;

use crate::{
    message::Message,
    record::Record,
    session::{MessageId, Queued, Session, SessionId},
    state::{State, Will},
};

/// A message, and who is to have it.
type Promised = (Arc<Message>, Vec<(SessionId, bool)>);

impl State {
    /// Takes in what happened. Of sessions and messages that are gone nothing is to be done.
    pub(crate) fn replay(&mut self, record: Record) {
        match record {
            Record::Session { id, expiry_s, left_ms, client } => self.replay_session(id, expiry_s, left_ms, client),
            Record::Ended { id } => self.end_session(id, 0),
            Record::Filter { id, options, filter } => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    self.filters.insert(&filter, id, options);
                    session.filters.insert(filter, options);
                }
            }
            Record::FilterGone { id, filter } => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.filters.remove(&filter);
                    self.filters.remove(&filter, id);
                }
            }
            Record::Message { id, message, is_retained, to } => self.replay_message(id, &message, is_retained, &to),
            Record::Taken { session, id } => {
                let queued = self.sessions.get_mut(&session).and_then(|session| session.remove(id));
                if let Some(queued) = queued {
                    self.count_out(session, &queued);
                }
            }
            Record::Forgotten { topic } => drop(self.forget(&topic)),
            Record::Will { id, message, is_retained } => {
                self.next.will = self.next.will.max(id + 1);
                // Whoever was connected then is not now.
                self.wills.insert(id, Will { message, is_retained, delay_s: 0, due_ms: Some(0) });
            }
            Record::WillGone { id } => drop(self.wills.remove(&id)),
        }
    }

    fn replay_session(&mut self, id: SessionId, expiry_s: u32, left_ms: u64, client: Arc<str>) {
        self.next.session = self.next.session.max(id + 1);
        self.clients.insert(Arc::clone(&client), id);
        let session = self.sessions.entry(id).or_insert_with(|| Session::new(client, expiry_s));
        (session.expiry_s, session.left_ms, session.is_recorded) = (expiry_s, left_ms, true);
    }

    fn replay_message(&mut self, id: MessageId, message: &Arc<Message>, is_retained: bool, to: &[(SessionId, bool)]) {
        self.next.message = self.next.message.max(id + 1);
        if is_retained {
            self.retain(message);
        }
        for (session, says_retained) in to {
            let Some(session) = self.sessions.get_mut(session) else { continue };
            self.promised_bytes += message.bytes();
            session.promised_bytes += message.bytes();
            session.queue.push_back(Queued {
                id,
                message: Arc::clone(message),
                qos: QoS::AtLeastOnce,
                is_retained: *says_retained,
                // It may have been sent: nobody wrote that down.
                is_dup: true,
                pkid: 0,
            });
        }
    }

    /// The end of the journal: nobody is connected, and what is due is done. What that changes is written into the file
    /// that is begun next.
    pub(crate) fn recover(&mut self, now_ms: u64) {
        for session in self.sessions.values_mut().filter(|session| session.left_ms == 0) {
            session.left_ms = now_ms;
        }
        self.tick(now_ms);
    }

    /// All that counts: what a file of the journal begins with.
    pub(crate) fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        let mut promised: BTreeMap<MessageId, Promised> = BTreeMap::new();
        for (id, session) in self.sessions.iter().filter(|(_, session)| session.is_recorded) {
            let Session { client, expiry_s, left_ms, .. } = session;
            let client = Arc::clone(client);
            records.push(Record::Session { id: *id, expiry_s: *expiry_s, left_ms: *left_ms, client });
            let filters = session.filters.iter();
            records.extend(filters.map(|(filter, options)| Record::Filter {
                id: *id,
                options: *options,
                filter: filter.clone(),
            }));
            for Queued { id: message_id, message, is_retained, .. } in session.messages().filter(|it| it.id > 0) {
                let entry = promised.entry(*message_id).or_insert_with(|| (Arc::clone(message), Vec::new()));
                entry.1.push((*id, *is_retained));
            }
        }
        // The numbers rise with the order in which messages came, in each session.
        records.extend(promised.into_iter().map(|(id, (message, to))| Record::Message {
            id,
            message,
            is_retained: false,
            to,
        }));
        let retained = self.retained.values().cloned();
        records.extend(retained.map(|message| Record::Message { id: 0, message, is_retained: true, to: Vec::new() }));
        let wills = self.wills.iter();
        records.extend(wills.map(|(id, will)| Record::Will {
            id: *id,
            message: Arc::clone(&will.message),
            is_retained: will.is_retained,
        }));
        records
    }
}

#[cfg(test)]
mod tests;
