//! What an answer is taken for: good, bad, or of no weight.
//!
//! An [`OutcomePolicy`] is compiled to a bit for each status and each code of gRPC, so that an answer is classified by
//! two look-ups. Breakers, outlier detection and the balance hear what comes out.

use bowline_model::policy::{Class, GrpcCode, OutcomePolicy};

/// What an answer is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It went well.
    Good,
    /// It is a failure.
    Bad,
    /// It counts neither as the one nor as the other.
    Ignored,
}

/// An [`OutcomePolicy`], or another list of classes, as it is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classifier {
    bad: Classes,
    ignored: Classes,
}

/// Some answers: a bit for each status of 0 to 599, and one for each code of gRPC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Classes {
    statuses: [u64; STATUS_WORDS],
    grpc: u32,
}

const STATUS_END: u16 = 600;
const STATUS_WORDS: usize = (STATUS_END as usize).div_ceil(64);

impl Classifier {
    /// The policy's.
    pub fn of(policy: &OutcomePolicy) -> Self {
        let OutcomePolicy { failures, ignored } = policy;
        Self { bad: Classes::of(failures), ignored: Classes::of(ignored) }
    }

    /// What an answer of that status is taken for, and of that code where it is gRPC's and did not go well.
    #[inline]
    pub fn verdict(&self, status: u16, grpc: Option<GrpcCode>) -> Verdict {
        if self.ignored.holds(status, grpc) {
            Verdict::Ignored
        } else if self.bad.holds(status, grpc) {
            Verdict::Bad
        } else {
            Verdict::Good
        }
    }
}

impl Classes {
    /// All of a list.
    pub fn of(list: &[Class]) -> Self {
        let mut classes = Self::default();
        for class in list {
            match *class {
                Class::Grpc(code) => classes.grpc |= 1 << code as u32,
                class => (0..STATUS_END).filter(|status| class.holds(*status, None)).for_each(|s| classes.add(s)),
            }
        }
        classes
    }

    fn add(&mut self, status: u16) {
        self.statuses[usize::from(status / 64)] |= 1 << (status % 64);
    }

    /// Whether an answer is among them. One of a status from 600 on never is.
    #[inline]
    pub fn holds(&self, status: u16, grpc: Option<GrpcCode>) -> bool {
        let word = self.statuses.get(usize::from(status / 64)).copied().unwrap_or_default();
        let by_grpc = grpc.is_some_and(|code| self.grpc >> (code as u32) & 1 == 1);
        word >> (status % 64) & 1 == 1 || by_grpc
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(list: &[&str]) -> Vec<Class> {
        list.iter().map(|text| Class::parse(text).unwrap()).collect()
    }

    #[test]
    fn the_default_is_what_is_the_servers_own_fault() {
        let classifier = Classifier::of(&OutcomePolicy::default());
        let of = |status| classifier.verdict(status, None);
        assert!((500..600).all(|status| of(status) == Verdict::Bad));
        assert!((0..500).chain(600..1000).all(|status| of(status) == Verdict::Good));
        let grpc = |code| classifier.verdict(200, Some(code));
        assert_eq!(grpc(GrpcCode::Unavailable), Verdict::Bad);
        assert_eq!(grpc(GrpcCode::NotFound), Verdict::Good);
    }

    #[test]
    fn what_is_ignored_counts_as_nothing_even_where_it_is_a_failure() {
        let policy = OutcomePolicy { failures: classes(&["5xx", "429"]), ignored: classes(&["501", "grpc:aborted"]) };
        let classifier = Classifier::of(&policy);
        assert_eq!(classifier.verdict(429, None), Verdict::Bad);
        assert_eq!(classifier.verdict(501, None), Verdict::Ignored);
        assert_eq!(classifier.verdict(500, Some(GrpcCode::Aborted)), Verdict::Ignored);
        assert_eq!(classifier.verdict(200, Some(GrpcCode::Unavailable)), Verdict::Good, "it is not in the list");
    }

    #[test]
    fn a_compiled_list_says_what_its_classes_say() {
        let list = classes(&["1xx", "200", "404", "4xx", "599", "grpc:cancelled", "grpc:unauthenticated"]);
        let compiled = Classes::of(&list);
        for status in 0..STATUS_END {
            assert_eq!(compiled.holds(status, None), list.iter().any(|class| class.holds(status, None)), "{status}");
        }
        for number in 1..=16 {
            let code = GrpcCode::of(number);
            assert_eq!(compiled.holds(0, code), list.iter().any(|class| class.holds(0, code)), "{number}");
        }
    }
}
