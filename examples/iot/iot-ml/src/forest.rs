//! An isolation forest: what is unlike the others is parted from them by few random cuts.
//!
//! Liu, Ting and Zhou, Isolation Forest (2008): each tree takes a sample, and cuts it by a random feature at a random
//! place between its least and its greatest value, until a row is alone or a depth is reached. The shorter the path to a
//! row's leaf is on average, the more unlike the others it is: `2^(-path / c(sample))`, where `c(n)` is the path of an
//! unsuccessful search in a binary tree of `n`. It needs no labels.

use example_model::{Learned, real};
use iot_detect::{
    features::{COUNT, NAMES, Row},
    random::Random,
};
use serde::{Deserialize, Serialize};

use crate::model::{Metrics, Origin};

/// The most trees of a model.
pub const TREES_MAX: usize = 500;

/// The most nodes of a tree.
pub const NODES_MAX: usize = 2047;

/// How it is learned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// How many trees.
    pub trees: usize,
    /// How many rows each of them sees.
    pub sample: usize,
}

impl Default for Params {
    fn default() -> Self {
        Self { trees: 150, sample: 128 }
    }
}

/// The trees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forest {
    sample: u32,
    trees: Vec<Tree>,
}

/// The nodes of a tree: the left child of a split is the next one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Tree(Vec<Node>);

/// In the file a split is a list and a leaf is a number. Numbers are f32, which JSON gives back as they were.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Node {
    /// The feature, the largest value that goes to the left, and where the right child is.
    Split(usize, f32, usize),
    /// How many rows ended here.
    Leaf(u32),
}

impl Forest {
    /// Learns from rows, of which each tree sees a sample.
    pub fn learn(rows: &[Row], params: &Params, seed: u64) -> Self {
        let sample = params.sample.min(rows.len()).max(1);
        let depth_max = sample.next_power_of_two().trailing_zeros();
        let grown = (0..params.trees).map(|number| {
            let mut random = Random::fork(seed, u32::try_from(number).unwrap_or(u32::MAX));
            let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
            let taken = (0..sample).filter_map(|_| rows.get(usize::try_from(random.below(count)).unwrap_or_default()));
            let taken: Vec<&Row> = taken.collect();
            let mut grower = Grower { nodes: Vec::new(), random, depth_max };
            grower.grow(taken, 0);
            Tree(grower.nodes)
        });
        Self { sample: u32::try_from(sample).unwrap_or(u32::MAX), trees: grown.collect() }
    }
}

impl Learned for Forest {
    const PROGRAM: &'static str = "iot-ml";
    const FEATURES: &'static [&'static str] = &NAMES;

    type Row = Row;
    type Origin = Origin;
    type Params = Params;
    type Metrics = Metrics;

    fn seed(origin: &Origin) -> u64 {
        origin.seed
    }

    /// How unlike what was learned from; what is usual is below a half.
    fn score(&self, row: &Row) -> f64 {
        let paths: f64 = self.trees.iter().map(|tree| tree.path(row)).sum();
        let usual = unsuccessful(self.sample).max(f64::MIN_POSITIVE);
        (-paths / real(self.trees.len().max(1)) / usual).exp2().clamp(0.0, 1.0)
    }

    fn trees(&self) -> usize {
        self.trees.len()
    }

    fn check(&self) -> Result<(), String> {
        if self.trees.is_empty() || self.trees.len() > TREES_MAX {
            return Err(format!("{} trees, not 1 to {TREES_MAX}", self.trees.len()));
        }
        if self.sample < 2 {
            return Err("the sample is below 2".to_owned());
        }
        for (at, tree) in self.trees.iter().enumerate() {
            tree.check().map_err(|rule| format!("tree {at}: {rule}"))?;
        }
        Ok(())
    }
}

impl Tree {
    /// The cuts down to a row's leaf, and those that its rows would still have taken.
    fn path(&self, row: &Row) -> f64 {
        let (mut at, mut cuts) = (0, 0.0);
        loop {
            match self.0[at] {
                Node::Leaf(count) => return cuts + unsuccessful(count),
                Node::Split(feature, most, right) => at = if row[feature] <= most { at + 1 } else { right },
            }
            cuts += 1.0;
        }
    }

    /// Children stand behind their parents: so every walk ends.
    fn check(&self) -> Result<(), String> {
        let count = self.0.len();
        if count == 0 || count > NODES_MAX {
            return Err(format!("{count} nodes, not 1 to {NODES_MAX}"));
        }
        for (at, node) in self.0.iter().enumerate() {
            if let Node::Split(feature, most, right) = *node
                && !(feature < COUNT && most.is_finite() && at + 1 < right && right < count)
            {
                return Err(format!("node {at} makes no sense: {node:?}"));
            }
        }
        Ok(())
    }
}

/// The path of an unsuccessful search in a binary tree of that many.
fn unsuccessful(count: u32) -> f64 {
    const EULER: f64 = 0.577_215_664_901_532_9;
    match count {
        0 | 1 => 0.0,
        2 => 1.0,
        count => {
            let below = f64::from(count - 1);
            2.0 * (below.ln() + EULER) - 2.0 * below / f64::from(count)
        }
    }
}

/// Grows one tree.
struct Grower {
    nodes: Vec<Node>,
    random: Random,
    depth_max: u32,
}

impl Grower {
    fn grow(&mut self, rows: Vec<&Row>, depth: u32) {
        let at = self.nodes.len();
        let split = if depth < self.depth_max { self.split(&rows) } else { None };
        let Some((feature, most)) = split else {
            return self.nodes.push(Node::Leaf(u32::try_from(rows.len()).unwrap_or(u32::MAX)));
        };
        self.nodes.push(Node::Split(feature, most, 0));
        let (left, right): (Vec<&Row>, Vec<&Row>) = rows.into_iter().partition(|row| row[feature] <= most);
        self.grow(left, depth + 1);
        self.nodes[at] = Node::Split(feature, most, self.nodes.len());
        self.grow(right, depth + 1);
    }

    /// A random feature that differs among the rows, and a place between its least and its greatest value.
    fn split(&mut self, rows: &[&Row]) -> Option<(usize, f32)> {
        let mut features: [usize; COUNT] = std::array::from_fn(|feature| feature);
        self.random.shuffle(&mut features);
        features.into_iter().find_map(|feature| {
            let values = || rows.iter().map(|row| row[feature]);
            let (least, greatest) = (values().fold(f32::MAX, f32::min), values().fold(f32::MIN, f32::max));
            let most = single(self.random.between(f64::from(least), f64::from(greatest)));
            // The greatest goes to the right, also where rounding would have it on the left.
            (least < greatest).then_some((feature, if most < greatest { most } else { least }))
        })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "it rounds to the nearest, between two numbers that are f32")]
fn single(number: f64) -> f32 {
    number as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 5;

    fn rows(count: usize) -> Vec<Row> {
        let mut random = Random::fork(SEED, 0);
        (0..count).map(|_| std::array::from_fn(|_| single(random.normal()))).collect()
    }

    #[test]
    fn what_is_far_away_scores_higher() {
        println!("seed {SEED}");
        let rows = rows(2000);
        let forest = Forest::learn(&rows, &Params::default(), SEED);
        forest.check().unwrap();
        let middle = forest.score(&[0.0; COUNT]);
        let mean = rows.iter().map(|row| forest.score(row)).sum::<f64>() / real(rows.len());
        let far = forest.score(&[5.0; COUNT]);
        assert!(middle < mean && mean < 0.55 && far > 0.65, "{middle} {mean} {far}");
        assert_eq!(forest, Forest::learn(&rows, &Params::default(), SEED));
        assert_ne!(forest, Forest::learn(&rows, &Params::default(), SEED + 1));
    }

    #[test]
    fn rows_that_are_all_alike_cannot_be_parted() {
        let forest = Forest::learn(&[[1.0; COUNT]; 300], &Params { trees: 3, sample: 64 }, SEED);
        forest.check().unwrap();
        assert!(forest.trees.iter().all(|tree| tree.0 == [Node::Leaf(64)]));
        assert!((forest.score(&[9.0; COUNT]) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn paths_are_those_of_the_paper() {
        // c(256), by which the paper's samples are normalised.
        assert!((unsuccessful(256) - 10.244).abs() < 1e-3);
        let tree =
            Tree(vec![Node::Split(0, 1.0, 2), Node::Leaf(1), Node::Split(1, 0.5, 4), Node::Leaf(2), Node::Leaf(1)]);
        tree.check().unwrap();
        let row = |first, second| std::array::from_fn(|at| if at == 0 { first } else { second });
        for (first, second, path) in [(1.0, 9.0, 1.0), (2.0, 0.5, 3.0), (2.0, 0.6, 2.0)] {
            assert!((tree.path(&row(first, second)) - path).abs() < 1e-9);
        }
        for bad in
            [vec![], vec![Node::Split(0, 1.0, 1)], vec![Node::Split(COUNT, 1.0, 2), Node::Leaf(1), Node::Leaf(1)]]
        {
            Tree(bad).check().unwrap_err();
        }
    }
}
