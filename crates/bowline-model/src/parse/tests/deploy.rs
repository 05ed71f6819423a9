//! `[deploy.X]`.

use std::time::Duration;

use super::{check_all, parse};
use crate::{
    deploy::{BAKE_MAX, Condition, Plan, Strategy},
    units::Share,
};

const FILE: &str = "name = \"shop\"\n[service.order]\nrun = \"./order\"\nversion = \"v1\"\n[service.user]\n$";

fn plan(section: &str) -> Plan {
    let system = parse(&FILE.replacen('$', &format!("[deploy.order]\n{section}"), 1)).unwrap();
    let [deployment] = system.deployments.as_slice() else { panic!("{:?}", system.deployments) };
    assert_eq!((deployment.service.as_str(), deployment.position.line), ("order", 6));
    deployment.plan.clone()
}

#[test]
fn a_plan_is_read() {
    assert_eq!(plan(""), Plan::default());
    let percents = |percents: &[u32]| percents.iter().map(|percent| Share::from_percent(*percent)).collect::<Vec<_>>();
    let canary = Plan { strategy: Strategy::Canary, steps: percents(&[5, 25, 50]), ..Plan::default() };
    assert_eq!(plan("strategy = \"canary\""), canary);
    let written =
        "strategy = \"canary\"\nsteps = [\"1%\", \"99%\"]\nbake = \"24h\"\nabort_when = \"p99 > 1s\"\nmin_requests = 7";
    let abort_when = Condition::parse("p99 > 1s").ok();
    assert_eq!(
        plan(written),
        Plan { steps: percents(&[1, 99]), bake: BAKE_MAX, abort_when, min_requests: 7, ..canary }
    );
    let blue_green = plan("strategy = \"blue-green\"\nbake = \"1ms\"\nabort_when = \"off\"");
    assert_eq!(blue_green.check(), Ok(()));
    assert_eq!((blue_green.bake, blue_green.abort_when), (Duration::from_millis(1), None));
}

#[test]
fn what_is_wrong_is_told() {
    check_all(
        FILE,
        r#"
[deploy.order]
stps = 5
  7:1+4 unknown key `stps` in a deployment → did you mean `steps`?

[deploy.ordr]
  6:9+4 unknown service `ordr` → did you mean `order`?

[deploy]
order = 5
  7:9+1 `order` is a whole number, not a table → write `[deploy.order]`

[deploy.user]
  6:9+4 `user` has no `run`: there is nothing to deploy → write it in `[service.user]`
  6:9+4 `user` has no `version`, by which its releases are told apart → write `version = "v1"` in `[service.user]`

[deploy.order]
strategy = "canry"
bake = "0s"
abort_when = "error_rate = 1%"
  7:12+7 `strategy` ("canry") is unknown → did you mean "canary"?
  8:8+4 `bake` (0s) must be above zero → write `bake = "2m"`
  9:14+17 `abort_when` ("error_rate = 1%") is not a condition → write `error_rate > 1%`, `p99 > 400ms`, or several joined by `and` and `or`

[deploy.order]
min_requests = 0
  7:16+1 `min_requests` (0) is out of range → write a whole number from 1 to 1000000

[deploy.order]
bake = "25h"
steps = ["5%"]
  7:8+5 `bake` (1d 1h) is above 1d → write 1d or less
  8:1+5 `steps` without `strategy = "canary"` → only a canary has steps: the others give instance by instance, or everything at once

[deploy.order]
strategy = "canary"
steps = []
  8:9+2 `steps` is empty → name at least one, or leave it out for 5%, 25% and 50%

[deploy.order]
strategy = "canary"
steps = ["5%", "5%", "0.01%", "100%", 5]
  8:16+4 `steps` ("5%") is not a step → each step is above the one before
  8:22+7 `steps` ("0.01%") is not a step → a step is in tenths of a percent
  8:31+6 `steps` ("100%") is not a step → a step is above 0% and below 100%, which comes after the last
  8:39+1 an element of `steps` is a whole number, not a string → write `steps = ["5%", "25%", "50%"]`
"#,
    );
}
