//! That it learns what there is to learn, and that a file that makes no sense is refused.

use super::*;

/// Frauds are where feature 3 is large and feature 5 is small: no feature alone tells.
fn corner(seed: u64, count: usize) -> Set {
    let mut random = Random::new(seed);
    let mut set = Set::default();
    for _ in 0..count {
        let row: Row = std::array::from_fn(|_| single(random.unit()));
        set.labels.push(row[3] > 0.9 && row[5] < 0.2);
        set.rows.push(row);
    }
    set
}

#[test]
fn it_learns_what_two_features_say_together() {
    let forest = learn(&corner(1, 6_000), &corner(2, 2_000), &Params::default(), 7);
    let test = corner(3, 2_000);
    let scores: Vec<f64> = test.rows.iter().map(|row| chance(forest.margin(row))).collect();
    let right = scores.iter().zip(&test.labels).filter(|(score, is_fraud)| (**score > 0.5) == **is_fraud).count();
    assert!(right > 1_980, "{right} of 2000 with {} trees", forest.trees());
    forest.check().unwrap();
}

#[test]
fn it_ends_early_where_there_is_nothing_to_learn() {
    let (mut train, mut valid) = (corner(1, 3_000), corner(2, 1_000));
    let mut random = Random::new(4);
    random.shuffle(&mut train.labels);
    random.shuffle(&mut valid.labels);
    let forest = learn(&train, &valid, &Params::default(), 7);
    assert!(forest.trees() < 40, "{} trees", forest.trees());
    // All are of one kind: it says so, and breaks nothing.
    train.labels.fill(false);
    let forest = learn(&train, &valid, &Params::default(), 7);
    assert!(chance(forest.margin(&train.rows[0])) < 0.01);
}

#[test]
fn what_is_written_is_read_bit_by_bit() {
    let forest = learn(&corner(1, 3_000), &corner(2, 1_000), &Params { rounds_max: 30, ..Params::default() }, 7);
    let text = serde_json::to_string(&forest).unwrap();
    let again: Forest = serde_json::from_str(&text).unwrap();
    for row in &corner(5, 1_000).rows {
        assert_eq!(forest.margin(row).to_bits(), again.margin(row).to_bits());
    }
}

#[test]
fn trees_that_make_no_sense_are_refused() {
    let read = |tree: &str| {
        let text = format!(r#"{{"base":-5.0,"trees":[[0.1],{tree}]}}"#);
        let forest: Forest = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        forest.check()
    };
    read("[[3,0.5,1,2],0.25,-1]").unwrap();
    for (tree, why) in [
        ("[]", "tree 1: 0 nodes"),
        ("[[3,0.5,0,1],0.25]", "node 0"),
        ("[[3,0.5,1,3],0.25,-1]", "node 0"),
        ("[[99,0.5,1,2],0.25,-1]", "node 0"),
        ("[[3,1e300,1,2],0.25,-1]", "node 0"),
        ("[[3,0.5,1],0.25,-1]", "variant"),
        ("[\"x\"]", "variant"),
    ] {
        let error = read(tree).unwrap_err();
        assert!(error.contains(why), "{tree}: {error}");
    }
    let many = format!(r#"{{"base":0,"trees":[{}[0.1]]}}"#, "[0.1],".repeat(TREES_MAX));
    assert!(serde_json::from_str::<Forest>(&many).unwrap().check().unwrap_err().contains("501"));
}

#[test]
fn surprise_is_small_where_the_odds_are_right_and_does_not_overflow() {
    assert!((log_loss(&[0.0, 0.0], &[true, false]) - 2_f64.ln()).abs() < 1e-12);
    assert!(log_loss(&[9.0, -9.0], &[true, false]) < 0.001);
    assert!((log_loss(&[-1000.0], &[true]) - 1000.0).abs() < 1e-12);
}
