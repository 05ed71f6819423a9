//! B0001: operations of two services that can answer one request, decided and not compared as text.

use std::{borrow::Cow, collections::BTreeMap};

use super::{OTHERS_MAX, Site, Violation, rules};
use crate::{
    parse::in_ticks,
    route::{PathPattern, Segment, decoded},
    system::{Operation, System},
};

const WHY: &str = "isolation demands that what two services own has nothing in common; a request with two owners is \
                   answered by whichever it happens to reach";

/// A path that both match, if there is one.
pub fn witness(one: &PathPattern, other: &PathPattern) -> Option<String> {
    let (short, long) = if one.segments().len() <= other.segments().len() { (one, other) } else { (other, one) };
    if short.segments().len() < long.segments().len() && !short.is_prefix() {
        return None;
    }
    let mut path = String::new();
    for (at, segment) in long.segments().iter().enumerate() {
        let text = match (segment, short.segments().get(at)) {
            (Segment::Literal(one), Some(Segment::Literal(other))) if decoded(one) != decoded(other) => return None,
            (Segment::Literal(text), _) | (Segment::Parameter(_), Some(Segment::Literal(text))) => text,
            (Segment::Parameter(_), _) => "1",
        };
        path.extend(["/", text]);
    }
    Some(if path.is_empty() { "/".to_owned() } else { path })
}

/// For each operation, those before it in the file that another service has for some of its requests.
pub(super) fn check(system: &System) -> Vec<Violation> {
    let mut methods: BTreeMap<&str, Vec<Claim<'_>>> = BTreeMap::new();
    for service in &system.services {
        for operation in &service.boundary.api {
            methods.entry(&operation.method).or_default().push(Claim { owner: service.name.as_str(), operation });
        }
    }
    let mut violations = Vec::new();
    for claims in methods.into_values() {
        let index = Index::of(claims);
        for number in 0..index.claims.len() {
            let others = index.others(number);
            if !others.is_empty() {
                violations.push(violation(index.claims[number], &others));
            }
        }
    }
    violations
}

fn violation(claim: Claim<'_>, others: &[Claim<'_>]) -> Violation {
    let (first, Operation { method, path, .. }) = (others[0], claim.operation);
    let path = witness(&first.operation.path, path).expect("a pattern that was found has a path in common");
    let message =
        format!("`{}` and `{}` both answer {}", first.owner, claim.owner, in_ticks(&format!("{method} {path}")));
    let site = |claim: &Claim<'_>| Site::of_system(claim.operation.position, format!("owned by `{}`", claim.owner));
    let sites = std::iter::once(&claim).chain(others).map(site).collect();
    let help = format!("let one of them own it, and the other call `{}` for it", first.owner);
    Violation::of(&rules::OPERATION_OWNERS, message, sites, WHY, help)
}

/// An operation and who offers it.
#[derive(Debug, Clone, Copy)]
struct Claim<'a> {
    owner: &'a str,
    operation: &'a Operation,
}

/// The operations of one method, by what they demand of each segment of a path.
///
/// Claims are numbered by their places, and sets of them are bits. So what has a path in common with a claim is an
/// intersection over its segments, at n / 64 words each, whatever the patterns are: to find it by walking a tree
/// takes n steps, where a parameter comes before the literal that tells them apart.
#[derive(Debug)]
struct Index<'a> {
    claims: Vec<Claim<'a>>,
    /// By a number of segments: those that match some path of exactly so many.
    of_length: Vec<Bits>,
    /// By a number of segments: those that match some path of so many or more.
    from_length: Vec<Bits>,
    /// By the place of a segment: those that take any text there.
    any: Vec<Bits>,
    /// By the place of a segment and its text: those that demand it.
    literals: BTreeMap<(usize, Cow<'a, [u8]>), Listed>,
}

/// The claims that demand one text.
#[derive(Debug)]
enum Listed {
    Few(Vec<usize>),
    /// With those that take any text there.
    Many(Bits),
}

impl<'a> Index<'a> {
    fn of(mut claims: Vec<Claim<'a>>) -> Self {
        claims.sort_by_key(|claim| claim.operation.position);
        let most = claims.iter().map(|claim| claim.operation.path.segments().len()).max().unwrap_or_default();
        let none = || vec![Bits::none(claims.len()); most + 1];
        let (mut of_length, mut from_length, mut any) = (none(), none(), none());
        let mut lists: BTreeMap<(usize, Cow<'a, [u8]>), Vec<usize>> = BTreeMap::new();
        for (number, Claim { operation: Operation { path, .. }, .. }) in claims.iter().enumerate() {
            let length = path.segments().len();
            let longest = if path.is_prefix() { most } else { length };
            (length..=longest).for_each(|length| of_length[length].add(number));
            (0..=longest).for_each(|length| from_length[length].add(number));
            for (at, segment) in path.segments().iter().enumerate() {
                match segment {
                    Segment::Literal(text) => lists.entry((at, decoded(text))).or_default().push(number),
                    Segment::Parameter(_) => any[at].add(number),
                }
            }
            if path.is_prefix() {
                (length..=most).for_each(|at| any[at].add(number));
            }
        }
        let listed = |((at, text), numbers): ((usize, _), Vec<usize>)| {
            // A set costs as much as a list of as many as it has words.
            let listed = if numbers.len() < Bits::words(claims.len()) {
                Listed::Few(numbers)
            } else {
                let mut all = any[at].clone();
                for number in numbers {
                    all.add(number);
                }
                Listed::Many(all)
            };
            ((at, text), listed)
        };
        let literals = lists.into_iter().map(listed).collect();
        Self { claims, of_length, from_length, any, literals }
    }

    /// Those before the claim and of other owners that can answer a request of it, at most [`OTHERS_MAX`].
    fn others(&self, number: usize) -> Vec<Claim<'a>> {
        let Claim { owner, operation: Operation { path, .. } } = self.claims[number];
        let lengths = if path.is_prefix() { &self.from_length } else { &self.of_length };
        let mut found = lengths[path.segments().len()].below(number);
        for (at, segment) in path.segments().iter().enumerate() {
            let Segment::Literal(text) = segment else { continue };
            match &self.literals[&(at, decoded(text))] {
                Listed::Many(all) => found.keep(all),
                Listed::Few(numbers) => {
                    let kept: Vec<usize> = numbers.iter().copied().filter(|number| found.has(*number)).collect();
                    found.keep(&self.any[at]);
                    for number in kept {
                        found.add(number);
                    }
                }
            }
        }
        let others = found.all().filter(|other| *other < number).map(|other| self.claims[other]);
        others.filter(|other| other.owner != owner).take(OTHERS_MAX).collect()
    }
}

/// A set of numbers.
#[derive(Debug, Clone)]
struct Bits(Vec<u64>);

impl Bits {
    /// None of so many.
    fn none(count: usize) -> Self {
        Self(vec![0; Self::words(count)])
    }

    fn words(count: usize) -> usize {
        count.div_ceil(64)
    }

    fn add(&mut self, number: usize) {
        self.0[number / 64] |= 1 << (number % 64);
    }

    fn has(&self, number: usize) -> bool {
        self.0.get(number / 64).is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    /// The part with the numbers below one, and a few more.
    fn below(&self, number: usize) -> Self {
        Self(self.0[..Self::words(number)].to_vec())
    }

    /// Takes out what the other has not, which has as many words or more.
    fn keep(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= other);
    }

    fn all(&self) -> impl Iterator<Item = usize> {
        let bits = |word: u64| {
            let rest = |word: &u64| Some(word & (word - 1)).filter(|word| *word != 0);
            std::iter::successors(Some(word).filter(|word| *word != 0), rest).map(u64::trailing_zeros)
        };
        self.0.iter().enumerate().flat_map(move |(at, word)| bits(*word).map(move |bit| at * 64 + bit as usize))
    }
}
