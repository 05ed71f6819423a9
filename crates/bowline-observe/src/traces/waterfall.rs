//! Lays the spans of one trace out as rows, parents before children.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use bowline_telemetry::{SpanData, SpanId, SpanKind};

/// One line of a waterfall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// How many rows it is under; 0 for a root.
    pub depth: usize,
    /// Its place in the slice that was laid out; `None` for a span that others name as their parent
    /// and that is not there.
    pub span: Option<usize>,
    /// Its name, also when it is not there.
    pub span_id: SpanId,
    /// From the begin of the trace.
    pub offset: Duration,
    /// How long it took.
    pub duration: Duration,
    /// Whether its parent is not there, or the parents go in a circle.
    pub is_orphan: bool,
}

/// Rows of a trace, depth first, siblings by their begin; each span is in exactly one.
///
/// A span whose parent is not there stands under a row that stands for the parent. Where clocks of
/// machines differ so that a child would begin before its parent, or a served call after its
/// caller's end, the child and all under it are moved: into the middle of the parent if it fits
/// there, else to its begin. O(n log n).
pub fn layout(spans: &[SpanData]) -> Vec<Row> {
    let tree = Tree::new(spans);
    let zero = tree.tops.iter().map(|top| top.start).min().unwrap_or(0);
    let mut placing = Placing { spans, tree: &tree, zero, is_placed: vec![false; spans.len()], rows: Vec::new() };
    for top in &tree.tops {
        placing.place_top(*top);
    }
    placing.place_circles();
    placing.rows
}

/// Who is whose child.
struct Tree {
    /// By parent's index.
    children: HashMap<usize, Vec<usize>>,
    /// By the parent that is not there.
    orphans: BTreeMap<SpanId, Vec<usize>>,
    tops: Vec<Top>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Top {
    start: u64,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Root(usize),
    Missing(SpanId),
}

impl Tree {
    fn new(spans: &[SpanData]) -> Self {
        let mut by_id = HashMap::with_capacity(spans.len());
        for (at, span) in spans.iter().enumerate() {
            by_id.entry(span.span_id).or_insert(at);
        }
        let mut tree = Self { children: HashMap::new(), orphans: BTreeMap::new(), tops: Vec::new() };
        for (at, span) in spans.iter().enumerate() {
            match span.parent_span_id.map(|parent| (parent, by_id.get(&parent))) {
                None => tree.tops.push(Top { start: span.start_unix_nanos, what: What::Root(at) }),
                Some((_, Some(parent))) => tree.children.entry(*parent).or_default().push(at),
                Some((parent, None)) => tree.orphans.entry(parent).or_default().push(at),
            }
        }
        for (parent, orphans) in &tree.orphans {
            let start = orphans.iter().map(|at| spans[*at].start_unix_nanos).min().unwrap_or(0);
            tree.tops.push(Top { start, what: What::Missing(*parent) });
        }
        tree.tops.sort_unstable();
        tree
    }
}

/// A span that is to be placed, and where.
struct Pending {
    span: usize,
    depth: usize,
    start: u64,
    /// By how much its clock is behind (or ahead) of the root's.
    shift: i128,
    is_orphan: bool,
}

struct Placing<'a> {
    spans: &'a [SpanData],
    tree: &'a Tree,
    zero: u64,
    is_placed: Vec<bool>,
    rows: Vec<Row>,
}

impl Placing<'_> {
    fn place_top(&mut self, top: Top) {
        match top.what {
            What::Root(span) => self.place(Pending { span, depth: 0, start: top.start, shift: 0, is_orphan: false }),
            What::Missing(span_id) => {
                let mut orphans = self.tree.orphans[&span_id].clone();
                orphans.sort_by_key(|at| self.spans[*at].start_unix_nanos);
                let end = orphans.iter().map(|at| self.spans[*at].end_unix_nanos()).max().unwrap_or(0);
                self.rows.push(Row {
                    depth: 0,
                    span: None,
                    span_id,
                    offset: self.offset(top.start),
                    duration: Duration::from_nanos(end.saturating_sub(top.start)),
                    is_orphan: true,
                });
                for span in orphans {
                    let start = self.spans[span].start_unix_nanos;
                    self.place(Pending { span, depth: 1, start, shift: 0, is_orphan: true });
                }
            }
        }
    }

    /// What no root leads to has its parents in a circle: the earliest of it stands for the root.
    fn place_circles(&mut self) {
        let mut left: Vec<_> = (0..self.spans.len()).filter(|at| !self.is_placed[*at]).collect();
        left.sort_by_key(|at| self.spans[*at].start_unix_nanos);
        if self.rows.is_empty() {
            self.zero = left.first().map_or(0, |at| self.spans[*at].start_unix_nanos);
        }
        for span in left {
            if !self.is_placed[span] {
                let start = self.spans[span].start_unix_nanos.max(self.zero);
                let shift = i128::from(start) - i128::from(self.spans[span].start_unix_nanos);
                self.place(Pending { span, depth: 0, start, shift, is_orphan: true });
            }
        }
    }

    /// Places a span and all under it; on a stack of its own, as traces can be deep.
    fn place(&mut self, top: Pending) {
        let mut stack = vec![top];
        while let Some(next) = stack.pop() {
            if std::mem::replace(&mut self.is_placed[next.span], true) {
                continue;
            }
            let span = &self.spans[next.span];
            self.rows.push(Row {
                depth: next.depth,
                span: Some(next.span),
                span_id: span.span_id,
                offset: self.offset(next.start),
                duration: Duration::from_nanos(span.duration_nanos),
                is_orphan: next.is_orphan,
            });
            let children = self.tree.children.get(&next.span).map_or(&[][..], Vec::as_slice);
            let mut children: Vec<_> = children.iter().map(|child| self.under(*child, &next)).collect();
            // The last of the stack is placed first.
            children.sort_by_key(|child| std::cmp::Reverse((child.start, child.span)));
            stack.extend(children);
        }
    }

    /// Where a child stands, its clock brought in line with its parent's.
    fn under(&self, child: usize, parent: &Pending) -> Pending {
        let (span, above) = (&self.spans[child], &self.spans[parent.span]);
        let start = i128::from(span.start_unix_nanos) + parent.shift;
        let parent_start = i128::from(parent.start);
        let parent_end = parent_start + i128::from(above.duration_nanos);
        let is_before = start < parent_start;
        let is_after = span.kind == SpanKind::Server && start > parent_end;
        let room = i128::from(above.duration_nanos) - i128::from(span.duration_nanos);
        let start = match (is_before || is_after, span.kind == SpanKind::Server && room > 0) {
            (false, _) => start,
            (true, true) => parent_start + room / 2,
            (true, false) => parent_start,
        };
        let start = u64::try_from(start).unwrap_or(u64::MAX);
        Pending {
            span: child,
            depth: parent.depth + 1,
            start,
            shift: i128::from(start) - i128::from(span.start_unix_nanos),
            is_orphan: false,
        }
    }

    fn offset(&self, start: u64) -> Duration {
        Duration::from_nanos(start.saturating_sub(self.zero))
    }
}

#[cfg(test)]
mod tests;
