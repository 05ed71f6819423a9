//! What a detector has to find among generated devices, and how seldom it may be wrong.

use iot_detect::{Kind, generator::Plan, simulation};

/// Seeds that are always run; `BOWLINE_TEST_LONG` asks for all.
const SEEDS: std::ops::Range<u64> = 1..4;
const SEEDS_LONG: std::ops::Range<u64> = 1..21;

/// Devices of each seed.
const DEVICES: u32 = 20;
const DEVICES_LONG: u32 = 50;

#[test]
fn nine_of_ten_faults_of_each_kind_are_found_and_few_episodes_are_wrong() {
    let is_long = std::env::var_os("BOWLINE_TEST_LONG").is_some();
    let (seeds, devices) = if is_long { (SEEDS_LONG, DEVICES_LONG) } else { (SEEDS, DEVICES) };
    for seed in seeds {
        let outcome = simulation::run(seed, devices, Plan::default());
        println!("seed {seed}, {devices} devices\n{}", outcome.report);
        assert!(outcome.misses().is_empty(), "seed {seed}: {:?}", outcome.misses());
        for kind in Kind::ALL {
            assert!(outcome.report.recall(Some(kind)).is_some(), "seed {seed}: there was no {kind}");
        }
    }
}

#[test]
fn devices_whose_days_are_alike_are_known_after_three() {
    let seed = 7;
    let outcome = simulation::run(seed, DEVICES, Plan::of_equal_days(14));
    println!("seed {seed}, {DEVICES} devices\n{}", outcome.report);
    assert!(outcome.misses().is_empty(), "seed {seed}: {:?}", outcome.misses());
}
