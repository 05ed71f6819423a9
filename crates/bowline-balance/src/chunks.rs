//! The members in order of their ids, in pieces: an update copies the pieces that it changes and shares the others.
//!
//! Copying a list of ten thousand references would touch ten thousand counts of references, most of them in no cache.
//! Beside each member its piece holds its load, so that a comparison of loads does not touch the member, and the few
//! facts from which a snapshot is shaped, so that shaping does not either.

use std::{cmp::Ordering, ops::Index, sync::Arc};

use bowline_model::{Health, InstanceId};

use crate::{
    hash::hash,
    load::Load,
    set::Member,
    shape::{Shape, level_of},
};

/// The members of a new piece; one that has grown to twice of it is cut.
const CHUNK: usize = 128;
const CHUNK_MAX: usize = 2 * CHUNK;

/// Where a member is: the piece, and its place in it.
pub(crate) type Slot = u32;

const OFFSET_BITS: u32 = 8;
const _: () = assert!(CHUNK_MAX <= 1 << OFFSET_BITS, "each place has a number");

#[derive(Debug)]
pub(crate) struct Chunks<T>(Box<[Arc<Chunk<T>>]>);

/// Never empty.
#[derive(Debug)]
pub(crate) struct Chunk<T> {
    members: Box<[Arc<Member<T>>]>,
    loads: Box<[Arc<Load>]>,
    facts: Box<[Fact]>,
}

/// What a snapshot is shaped from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fact {
    /// Of its id.
    pub(crate) hash: u64,
    pub(crate) weight: u32,
    pub(crate) health: Health,
    pub(crate) level: u8,
    pub(crate) is_near: bool,
}

/// All members of a snapshot, sorted by id.
#[derive(Debug)]
pub struct Members<'s, T> {
    chunks: &'s Chunks<T>,
}

/// What is to become of one id.
#[derive(Debug)]
pub(crate) struct Wish<'i, I> {
    pub(crate) id: &'i InstanceId,
    /// None: it is to go.
    pub(crate) instance: Option<&'i I>,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self(Box::default())
    }
}

impl<T> Chunks<T> {
    pub(crate) fn of(members: impl IntoIterator<Item = Arc<Member<T>>>, shape: &Shape) -> Self {
        let mut members = members.into_iter().peekable();
        let mut chunks = Vec::new();
        while members.peek().is_some() {
            chunks.push(Arc::new(Chunk::of(members.by_ref().take(CHUNK).collect(), shape)));
        }
        Self(chunks.into())
    }

    /// These with the wishes fulfilled, which are sorted by id, one for each; `None` where that changes nothing.
    ///
    /// What is not wished for stays where others are kept, else it goes. `next` makes of a member, if there is one, and
    /// of what is wished, if it is to stay, the next member, which is the same one where nothing has changed.
    pub(crate) fn with<I>(
        &self,
        wishes: &[Wish<'_, I>],
        keeps_others: bool,
        shape: &Shape,
        mut next: impl FnMut(Option<&Arc<Member<T>>>, Option<&I>) -> Option<Arc<Member<T>>>,
    ) -> Option<Self> {
        let mut chunks = Vec::with_capacity(self.0.len() + wishes.len().div_ceil(CHUNK));
        let (mut rest, mut is_changed) = (wishes, false);
        for (at, chunk) in self.0.iter().enumerate() {
            // What comes before the first is the first's, what comes after the last is the last's.
            let after = self.0.get(at + 1).map(|after| after.first_id());
            let count = after.map_or(rest.len(), |after| rest.partition_point(|wish| wish.id < after));
            let (wished, others) = rest.split_at(count);
            rest = others;
            if wished.is_empty() && keeps_others {
                chunks.push(Arc::clone(chunk));
                continue;
            }
            match chunk.with(wished, keeps_others, &mut next) {
                None => chunks.push(Arc::clone(chunk)),
                Some(members) => {
                    is_changed = true;
                    push(&mut chunks, members, shape);
                }
            }
        }
        if self.0.is_empty() {
            let made: Vec<_> = rest.iter().filter_map(|wish| next(None, wish.instance)).collect();
            is_changed = !made.is_empty();
            push(&mut chunks, made, shape);
        }
        is_changed.then(|| Self(chunks.into()).tidied(shape))
    }

    /// Put together anew where most pieces have become small.
    fn tidied(self, shape: &Shape) -> Self {
        let needed = self.len().div_ceil(CHUNK);
        if self.0.len() <= 2 * needed + 1 {
            return self;
        }
        Self::of(self.iter().map(Arc::clone), shape)
    }

    pub(crate) fn reshaped(&self, shape: &Shape) -> Self {
        Self::of(self.iter().map(Arc::clone), shape)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Member<T>>> {
        self.0.iter().flat_map(|chunk| &chunk.members)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|chunk| chunk.members.len()).sum()
    }

    /// The facts, with where each is.
    pub(crate) fn facts(&self) -> impl Iterator<Item = (Slot, &Fact)> {
        self.0.iter().zip(0u32..).flat_map(|(chunk, at)| {
            chunk.facts.iter().zip(0u32..).map(move |(fact, offset)| (at << OFFSET_BITS | offset, fact))
        })
    }

    #[inline]
    pub(crate) fn member(&self, slot: Slot) -> &Arc<Member<T>> {
        let (chunk, offset) = self.place(slot);
        &chunk.members[offset]
    }

    #[inline]
    pub(crate) fn load(&self, slot: Slot) -> &Load {
        let (chunk, offset) = self.place(slot);
        &chunk.loads[offset]
    }

    #[inline]
    pub(crate) fn fact(&self, slot: Slot) -> &Fact {
        let (chunk, offset) = self.place(slot);
        &chunk.facts[offset]
    }

    #[inline]
    fn place(&self, slot: Slot) -> (&Chunk<T>, usize) {
        let offset = slot & ((1 << OFFSET_BITS) - 1);
        (&self.0[(slot >> OFFSET_BITS) as usize], offset as usize)
    }

    pub(crate) fn get(&self, id: &InstanceId) -> Option<&Arc<Member<T>>> {
        let after = self.0.partition_point(|chunk| chunk.first_id() <= id);
        let members = &self.0.get(after.checked_sub(1)?)?.members;
        members.binary_search_by(|member| member.instance.id.cmp(id)).ok().map(|at| &members[at])
    }
}

impl<T> Chunk<T> {
    fn of(members: Box<[Arc<Member<T>>]>, shape: &Shape) -> Self {
        let loads = members.iter().map(|member| Arc::clone(&member.load)).collect();
        let facts = members.iter().map(|member| Fact::of(member, shape)).collect();
        Self { members, loads, facts }
    }

    fn first_id(&self) -> &InstanceId {
        &self.members[0].instance.id
    }

    /// Its members with the wishes fulfilled; `None` where that changes nothing.
    fn with<I>(
        &self,
        wishes: &[Wish<'_, I>],
        keeps_others: bool,
        next: &mut impl FnMut(Option<&Arc<Member<T>>>, Option<&I>) -> Option<Arc<Member<T>>>,
    ) -> Option<Vec<Arc<Member<T>>>> {
        // Nothing is copied as long as nothing has changed.
        let mut made: Option<Vec<_>> = None;
        let (mut members, mut wishes) = (self.members.iter().enumerate().peekable(), wishes.iter().peekable());
        loop {
            let order = match (members.peek(), wishes.peek()) {
                (None, None) => return made,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((_, member)), Some(wish)) => member.instance.id.cmp(wish.id),
            };
            let member = if order.is_le() { members.next() } else { None };
            let wish = if order.is_ge() { wishes.next() } else { None };
            let becomes = match (member, wish) {
                (Some((_, member)), None) if keeps_others => Some(Arc::clone(member)),
                (member, wish) => next(member.map(|(_, member)| member), wish.and_then(|wish| wish.instance)),
            };
            let is_same = match (member, &becomes) {
                (Some((_, before)), Some(after)) => Arc::ptr_eq(before, after),
                (before, after) => before.is_none() && after.is_none(),
            };
            if !is_same && made.is_none() {
                // All before this one were the same.
                let at = member.map_or_else(|| members.peek().map_or(self.members.len(), |(at, _)| *at), |(at, _)| at);
                made = Some(self.members[..at].to_vec());
            }
            if let Some(made) = &mut made {
                made.extend(becomes);
            }
        }
    }
}

/// Adds the members as pieces: one, where they fit.
fn push<T>(chunks: &mut Vec<Arc<Chunk<T>>>, members: Vec<Arc<Member<T>>>, shape: &Shape) {
    if members.is_empty() {
        return;
    }
    if members.len() <= CHUNK_MAX {
        chunks.push(Arc::new(Chunk::of(members.into(), shape)));
        return;
    }
    let mut members = members.into_iter().peekable();
    while members.peek().is_some() {
        chunks.push(Arc::new(Chunk::of(members.by_ref().take(CHUNK).collect(), shape)));
    }
}

impl Fact {
    fn of<T>(member: &Member<T>, shape: &Shape) -> Self {
        let instance = &member.instance;
        Self {
            hash: hash(instance.id.as_str().as_bytes()),
            weight: instance.weight.max(1),
            health: instance.health,
            level: level_of(instance),
            is_near: shape.is_near(instance),
        }
    }
}

impl<'s, T> Members<'s, T> {
    pub(crate) fn new(chunks: &'s Chunks<T>) -> Self {
        Self { chunks }
    }

    /// In order of their ids.
    pub fn iter(self) -> impl Iterator<Item = &'s Arc<Member<T>>> + use<'s, T> {
        self.chunks.0.iter().flat_map(|chunk| &chunk.members)
    }

    /// How many there are.
    pub fn len(self) -> usize {
        self.chunks.len()
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.chunks.0.is_empty()
    }

    /// The one at that place in the order of ids. O(n / 128).
    pub fn get(self, at: usize) -> Option<&'s Arc<Member<T>>> {
        let mut left = at;
        for chunk in &self.chunks.0 {
            match chunk.members.get(left) {
                Some(member) => return Some(member),
                None => left -= chunk.members.len(),
            }
        }
        None
    }
}

impl<T> Index<usize> for Members<'_, T> {
    type Output = Arc<Member<T>>;

    fn index(&self, at: usize) -> &Arc<Member<T>> {
        self.get(at).expect("there are as many members")
    }
}

impl<'s, T> IntoIterator for Members<'s, T> {
    type Item = &'s Arc<Member<T>>;
    type IntoIter = Box<dyn Iterator<Item = Self::Item> + 's>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.chunks.0.iter().flat_map(|chunk| &chunk.members))
    }
}

impl<T> Clone for Members<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Members<'_, T> {}
