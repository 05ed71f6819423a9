//! Gradient boosting over histograms: trees, each of which mends what those before it got wrong.
//!
//! Chen and Guestrin, `XGBoost`: A Scalable Tree Boosting System (2016), equations 5 to 7, for logistic loss: with the
//! slope `g = p - y` and the curvature `h = p (1 - p)` of each row, a leaf's value is `-G / (H + λ)`, and a split gains
//! `GL² / (HL + λ) + GR² / (HR + λ) - G² / (H + λ)`. Values are sorted into bins once, so a split is looked for among
//! cut points, and of two children only the smaller is counted: the other is what is left. One thread, so that a seed
//! gives one model.

mod bins;

use bank_features::{COUNT, NAMES, Row};
use example_model::{Learned, real};
use serde::{Deserialize, Serialize};

use crate::{
    Set,
    model::{Metrics, Origin},
    random::Random,
};
use bins::{BINS_MAX, Bins, Codes};

/// The most nodes of one tree: of a depth of six.
pub const NODES_MAX: usize = 127;
/// The most trees of one model.
pub const TREES_MAX: usize = 500;

/// How it is learned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Trees, at most.
    pub rounds_max: usize,
    /// How many trees may bring no better loss before it ends.
    pub patience: usize,
    /// The share of its value that a tree is believed.
    pub rate: f64,
    /// Splits above a leaf, at most.
    pub depth_max: usize,
    /// λ: how much a leaf's value is drawn to 0.
    pub shrinkage: f64,
    /// The least curvature in a leaf: about four times that many rows that are undecided.
    pub curvature_min: f64,
    /// Into how many bins of equal counts a feature is cut, beside those of its tails.
    pub bins: usize,
    /// The share of the rows that a tree is grown on.
    pub sample: f64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            rounds_max: 200,
            patience: 20,
            rate: 0.1,
            depth_max: 4,
            shrinkage: 1.0,
            curvature_min: 1.0,
            bins: 96,
            sample: 0.8,
        }
    }
}

/// Trees, whose values add up to log-odds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forest {
    /// The log-odds before any tree.
    base: f32,
    trees: Vec<Tree>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Tree(Vec<Node>);

/// In the file a split is a list and a leaf is a number. Numbers are f32, which JSON gives back as they were.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Node {
    /// The feature, the largest value that goes to the left, and where its children are.
    Split(usize, f32, usize, usize),
    Leaf(f32),
}

impl Forest {
    /// The log-odds that it is a fraud.
    pub fn margin(&self, row: &Row) -> f64 {
        f64::from(self.base) + self.trees.iter().map(|tree| f64::from(tree.value(row))).sum::<f64>()
    }
}

impl Learned for Forest {
    const PROGRAM: &'static str = "bank-ml";
    const FEATURES: &'static [&'static str] = &NAMES;

    type Row = Row;
    type Origin = Origin;
    type Params = Params;
    type Metrics = Metrics;

    fn seed(origin: &Origin) -> u64 {
        origin.seed
    }

    /// How likely a fraud is.
    fn score(&self, row: &Row) -> f64 {
        chance(self.margin(row))
    }

    fn trees(&self) -> usize {
        self.trees.len()
    }

    fn check(&self) -> Result<(), String> {
        if self.trees.len() > TREES_MAX {
            return Err(format!("{} trees are more than {TREES_MAX}", self.trees.len()));
        }
        if !self.base.is_finite() {
            return Err("the base is no number".to_owned());
        }
        for (at, tree) in self.trees.iter().enumerate() {
            tree.check().map_err(|rule| format!("tree {at}: {rule}"))?;
        }
        Ok(())
    }
}

impl Tree {
    fn value(&self, row: &Row) -> f32 {
        let mut at = 0;
        loop {
            match self.0[at] {
                Node::Leaf(value) => return value,
                Node::Split(feature, most, left, right) => at = if row[feature] <= most { left } else { right },
            }
        }
    }

    /// Children stand behind their parents: so every walk ends.
    fn check(&self) -> Result<(), String> {
        let count = self.0.len();
        if count == 0 || count > NODES_MAX {
            return Err(format!("{count} nodes, not 1 to {NODES_MAX}"));
        }
        for (at, node) in self.0.iter().enumerate() {
            let is_good = match *node {
                Node::Leaf(value) => value.is_finite(),
                Node::Split(feature, most, left, right) => {
                    let is_below = |child| child > at && child < count;
                    feature < COUNT && most.is_finite() && is_below(left) && is_below(right)
                }
            };
            if !is_good {
                return Err(format!("node {at} makes no sense: {node:?}"));
            }
        }
        Ok(())
    }
}

/// Learns from `train` until `valid`, which it does not learn from, is not told better any more.
pub fn learn(train: &Set, valid: &Set, params: &Params, seed: u64) -> Forest {
    let bins = Bins::of(&train.rows, params.bins);
    let codes: Vec<Codes> = train.rows.iter().map(|row| bins.codes(row)).collect();
    let mut random = Random::new(seed);
    let mut forest = Forest { base: log_odds(&train.labels), trees: Vec::new() };
    let mut margins = vec![f64::from(forest.base); train.rows.len()];
    let mut seen = vec![f64::from(forest.base); valid.rows.len()];
    let (mut best, mut best_at) = (log_loss(&seen, &valid.labels), 0);
    for round in 1..=params.rounds_max {
        let slopes = margins.iter().zip(&train.labels).map(|(margin, is_fraud)| Slope::of(*margin, *is_fraud));
        let slopes: Vec<Slope> = slopes.collect();
        let sample = (0..codes.len()).filter(|_| random.hits(params.sample)).collect();
        let tree = Grower { codes: &codes, slopes: &slopes, bins: &bins, params }.grow(sample);
        add(&mut margins, &tree, &train.rows);
        add(&mut seen, &tree, &valid.rows);
        forest.trees.push(tree);
        let loss = log_loss(&seen, &valid.labels);
        if loss < best {
            (best, best_at) = (loss, round);
        } else if round - best_at >= params.patience {
            break;
        }
    }
    forest.trees.truncate(best_at);
    forest
}

fn add(margins: &mut [f64], tree: &Tree, rows: &[Row]) {
    for (margin, row) in margins.iter_mut().zip(rows) {
        *margin += f64::from(tree.value(row));
    }
}

/// Of all rows; finite also where all are the same.
fn log_odds(labels: &[bool]) -> f32 {
    let frauds = real(labels.iter().filter(|is_fraud| **is_fraud).count());
    let honest = real(labels.len()) - frauds;
    single((frauds.max(1.0) / honest.max(1.0)).ln())
}

/// The chance of these log-odds.
fn chance(margin: f64) -> f64 {
    1.0 / (1.0 + (-margin).exp())
}

/// The mean surprise in nats, of log-odds; what the learner makes small.
fn log_loss(margins: &[f64], labels: &[bool]) -> f64 {
    // ln(1 + e^x), without overflow.
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    let surprise =
        margins.iter().zip(labels).map(|(margin, is_fraud)| softplus(if *is_fraud { -margin } else { *margin }));
    surprise.sum::<f64>() / real(labels.len().max(1))
}

#[expect(clippy::cast_possible_truncation, reason = "it rounds to the nearest, as what is in the file is rounded")]
fn single(number: f64) -> f32 {
    number as f32
}

/// The first and the second derivative of the loss by the log-odds, of one row or of many.
#[derive(Debug, Clone, Copy, Default)]
struct Slope {
    first: f64,
    second: f64,
}

impl Slope {
    fn of(margin: f64, is_fraud: bool) -> Self {
        let chance = chance(margin);
        let label = if is_fraud { 1.0 } else { 0.0 };
        Self { first: chance - label, second: (chance * (1.0 - chance)).max(1e-16) }
    }

    fn add(&mut self, other: Self) {
        self.first += other.first;
        self.second += other.second;
    }

    fn less(self, other: Self) -> Self {
        Self { first: self.first - other.first, second: self.second - other.second }
    }

    fn of_all(slopes: impl IntoIterator<Item = Self>) -> Self {
        slopes.into_iter().fold(Self::default(), |mut sum, slope| {
            sum.add(slope);
            sum
        })
    }
}

/// Slopes by feature and bin.
struct Histogram(Vec<[Slope; BINS_MAX]>);

impl Histogram {
    fn less(mut self, other: &Self) -> Self {
        for (cell, other) in self.0.iter_mut().flatten().zip(other.0.iter().flatten()) {
            *cell = cell.less(*other);
        }
        self
    }
}

/// Where a node is parted.
struct Split {
    gain: f64,
    feature: usize,
    /// The last bin that goes to the left.
    bin: usize,
    left: Slope,
    right: Slope,
}

/// A node that may still be parted.
struct Open {
    at: usize,
    depth: usize,
    rows: Vec<usize>,
    histogram: Histogram,
}

/// Grows one tree.
struct Grower<'a> {
    codes: &'a [Codes],
    slopes: &'a [Slope],
    bins: &'a Bins,
    params: &'a Params,
}

impl Grower<'_> {
    fn grow(&self, rows: Vec<usize>) -> Tree {
        let whole = Slope::of_all(rows.iter().map(|row| self.slopes[*row]));
        let mut nodes = vec![self.leaf(whole)];
        let histogram = self.count(&rows);
        let mut open = vec![Open { at: 0, depth: 0, rows, histogram }];
        while let Some(node) = open.pop() {
            let Some(split) = self.best_split(&node.histogram) else { continue };
            let (left, right) = (nodes.len(), nodes.len() + 1);
            nodes.extend([self.leaf(split.left), self.leaf(split.right)]);
            nodes[node.at] = Node::Split(split.feature, self.bins.cut(split.feature, split.bin), left, right);
            if node.depth + 1 < self.params.depth_max {
                open.extend(self.part(node, &split, (left, right)));
            }
        }
        Tree(nodes)
    }

    fn leaf(&self, slope: Slope) -> Node {
        Node::Leaf(single(-self.params.rate * slope.first / (slope.second + self.params.shrinkage)))
    }

    fn count(&self, rows: &[usize]) -> Histogram {
        let mut counted = vec![[Slope::default(); BINS_MAX]; COUNT];
        for row in rows {
            let slope = self.slopes[*row];
            for (of_feature, code) in counted.iter_mut().zip(&self.codes[*row]) {
                of_feature[usize::from(*code)].add(slope);
            }
        }
        Histogram(counted)
    }

    fn best_split(&self, histogram: &Histogram) -> Option<Split> {
        let score = |slope: Slope| slope.first * slope.first / (slope.second + self.params.shrinkage);
        let mut best: Option<Split> = None;
        for (feature, cells) in histogram.0.iter().enumerate() {
            let whole = Slope::of_all(*cells);
            let mut left = Slope::default();
            for (bin, cell) in cells.iter().enumerate().take(self.bins.cuts(feature)) {
                left.add(*cell);
                let right = whole.less(left);
                if left.second < self.params.curvature_min || right.second < self.params.curvature_min {
                    continue;
                }
                let gain = score(left) + score(right) - score(whole);
                if gain > best.as_ref().map_or(1e-9, |best| best.gain) {
                    best = Some(Split { gain, feature, bin, left, right });
                }
            }
        }
        best
    }

    fn part(&self, node: Open, split: &Split, (left, right): (usize, usize)) -> [Open; 2] {
        let goes_left = |row: &usize| usize::from(self.codes[*row][split.feature]) <= split.bin;
        let (rows_left, rows_right): (Vec<usize>, Vec<usize>) = node.rows.into_iter().partition(goes_left);
        let (of_left, of_right) = if rows_left.len() <= rows_right.len() {
            let of_left = self.count(&rows_left);
            let of_right = node.histogram.less(&of_left);
            (of_left, of_right)
        } else {
            let of_right = self.count(&rows_right);
            (node.histogram.less(&of_right), of_right)
        };
        let depth = node.depth + 1;
        [
            Open { at: left, depth, rows: rows_left, histogram: of_left },
            Open { at: right, depth, rows: rows_right, histogram: of_right },
        ]
    }
}

#[cfg(test)]
mod tests;
