//! Who has subscribed to what: a tree of filters by their levels, so that a message does not ask every session.

use std::collections::BTreeMap;

use crate::session::{Options, SessionId};

/// All filters of all sessions.
#[derive(Debug, Default)]
pub(crate) struct Filters(Node);

/// What comes behind some levels.
#[derive(Debug, Default)]
struct Node {
    /// Filters that end here.
    here: BTreeMap<SessionId, Options>,
    /// Filters that end with `#` here: they match this level, too.
    below: BTreeMap<SessionId, Options>,
    /// Further levels by name; `+` is one, since no topic has it.
    levels: BTreeMap<Box<str>, Self>,
}

impl Filters {
    /// Adds or replaces one.
    pub(crate) fn insert(&mut self, filter: &str, session: SessionId, options: Options) {
        let mut node = &mut self.0;
        for level in filter.split('/') {
            if level == "#" {
                node.below.insert(session, options);
                return;
            }
            node = node.levels.entry(level.into()).or_default();
        }
        node.here.insert(session, options);
    }

    /// Removes one, and the levels that only it had.
    pub(crate) fn remove(&mut self, filter: &str, session: SessionId) {
        self.0.remove(Some(filter), session);
    }

    /// The sessions that are to have a message of that topic, each once: with the best of what it has asked for.
    pub(crate) fn matching(&self, topic: &str) -> BTreeMap<SessionId, Options> {
        let mut found = BTreeMap::new();
        self.0.collect(Some(topic), &mut found);
        found
    }
}

impl Node {
    fn remove(&mut self, filter: Option<&str>, session: SessionId) {
        match filter.map(first_level) {
            None => drop(self.here.remove(&session)),
            Some(("#", _)) => drop(self.below.remove(&session)),
            Some((level, rest)) => {
                if let Some(node) = self.levels.get_mut(level) {
                    node.remove(rest, session);
                    if node.is_empty() {
                        self.levels.remove(level);
                    }
                }
            }
        }
    }

    /// As deep as the topic has levels, which is bounded.
    fn collect(&self, topic: Option<&str>, found: &mut BTreeMap<SessionId, Options>) {
        add(&self.below, found);
        let Some((level, rest)) = topic.map(first_level) else { return add(&self.here, found) };
        for name in [level, "+"] {
            if let Some(node) = self.levels.get(name) {
                node.collect(rest, found);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.here.is_empty() && self.below.is_empty() && self.levels.is_empty()
    }
}

fn add(from: &BTreeMap<SessionId, Options>, found: &mut BTreeMap<SessionId, Options>) {
    for (session, options) in from {
        found.entry(*session).and_modify(|known| *known = known.or(*options)).or_insert(*options);
    }
}

/// The first level, and the rest; none behind the last one.
fn first_level(text: &str) -> (&str, Option<&str>) {
    text.split_once('/').map_or((text, None), |(level, rest)| (level, Some(rest)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rumqttc_v5::mqttbytes::{matches, valid_filter};

    use super::*;

    fn texts(levels: &'static [&'static str]) -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(levels), 1..5).prop_map(|levels| levels.join("/"))
    }

    fn filter() -> impl Strategy<Value = String> {
        texts(&["a", "b", "", "+", "#"]).prop_filter("a filter", |filter| valid_filter(filter))
    }

    fn filters_of(model: &[(String, SessionId)]) -> Filters {
        let mut filters = Filters::default();
        for (filter, session) in model {
            filters.insert(filter, *session, Options::default());
        }
        filters
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_a_list_finds(
            entries in prop::collection::vec((filter(), 0_u64..6), 0..20),
            gone in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
            topics in prop::collection::vec(texts(&["a", "b", "c", ""]), 1..10),
        ) {
            let mut model = entries;
            let mut filters = filters_of(&model);
            for index in gone.iter().filter(|_| !model.is_empty()).collect::<Vec<_>>() {
                if model.is_empty() {
                    break;
                }
                let (filter, session) = model[index.index(model.len())].clone();
                model.retain(|entry| *entry != (filter.clone(), session));
                filters.remove(&filter, session);
            }
            for topic in topics {
                let mut expected: Vec<_> =
                    model.iter().filter(|(filter, _)| matches(&topic, filter)).map(|(_, session)| *session).collect();
                expected.sort_unstable();
                expected.dedup();
                prop_assert_eq!(filters.matching(&topic).into_keys().collect::<Vec<_>>(), expected, "{}", topic);
            }
            for (filter, session) in model {
                filters.remove(&filter, session);
            }
            prop_assert!(filters.0.is_empty(), "a level was left behind");
        }
    }

    #[test]
    fn a_parent_matches_its_own_hash_and_plus_takes_one_level_only() {
        let model = [("a/#", 1), ("a/+", 2), ("#", 3), ("+/+/c", 4)].map(|(filter, id)| (filter.to_owned(), id));
        let filters = filters_of(&model);
        let found = |topic: &str| filters.matching(topic).into_keys().collect::<Vec<_>>();
        assert_eq!(found("a"), [1, 3]);
        assert_eq!(found("a/b"), [1, 2, 3]);
        assert_eq!(found("a/b/c"), [1, 3, 4]);
        assert_eq!(found("b"), [3]);
    }
}
