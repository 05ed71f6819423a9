//! That a transfer is judged once, by the model where it answers, and that it is told where it does not.

use std::sync::{
    Mutex,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use bowline::runtime::task;
use example_sql::{Db, on_both, testing::Fixture};

use super::*;
use crate::{
    assessment::Currency,
    repository::{SqlAssessments, tests::opened},
    scorer::Scored,
};

on_both!(
    a_transfer_is_judged_once_whatever_changes_since,
    without_a_model_transfers_go_on_by_the_stated_rules,
    of_transfers_asked_about_at_once_the_tenth_is_denied_too,
    what_two_ask_at_once_is_counted_once,
    a_fraud_can_be_reported_of_what_is_known,
);

/// Scores as it is told, or does not answer.
#[derive(Default)]
struct Model {
    score: Mutex<Option<f64>>,
    asked: AtomicU32,
    seen: Mutex<Option<Features>>,
}

impl Scorer for Model {
    async fn score(&self, _: &str, features: &Features) -> Result<Scored, String> {
        self.asked.fetch_add(1, Relaxed);
        *self.seen.lock().unwrap() = Some(features.clone());
        let score = self.score.lock().unwrap().ok_or("the breakers of service ml are open")?;
        Ok(Scored { score, threshold: 0.5, model: "7-1a2b3c4d".to_owned() })
    }
}

async fn risk<DB: Db>(fixture: &Fixture<DB>, score: Option<f64>) -> RiskService<SqlAssessments<DB>, Model> {
    let repository = opened(fixture).await;
    let scorer = Model { score: Mutex::new(score), ..Model::default() };
    let (rules, metrics) = (Arc::new(Rules::default()), metric::Registry::default());
    let rules: Box<dyn Fn() -> Arc<Rules> + Send + Sync> = Box::new(move || rules.clone());
    RiskService { repository, scorer, rules, tracer: Tracer::disabled(), metrics }
}

fn asked(transfer: &str, amount: i64) -> NewAssessment {
    let at_unix_ms = i64::try_from(time::unix_millis_now()).unwrap();
    let (transfer, from, to) = (transfer.to_owned(), "a-1".to_owned(), "a-2".to_owned());
    NewAssessment { transfer, from, to, amount, currency: Currency::Eur, at_unix_ms }
}

async fn a_transfer_is_judged_once_whatever_changes_since<DB: Db>(fixture: Fixture<DB>) {
    let risk = risk(&fixture, Some(0.4)).await;
    let first = risk.assess(asked("t-1", 100)).await.unwrap();
    assert_eq!((first.decision, first.score, &*first.by), (Decision::Allow, Some(0.4), "model 7-1a2b3c4d"));
    *risk.scorer.score.lock().unwrap() = Some(0.9);
    assert_eq!(risk.assess(asked("t-1", 100)).await.unwrap(), first);
    assert_eq!(risk.scorer.asked.load(Relaxed), 1);
    assert_eq!(risk.assess(asked("t-1", 101)).await.unwrap_err().code(), Code::Conflict);
    let second = risk.assess(asked("t-2", 200)).await.unwrap();
    assert_eq!((second.decision, second.reasons), (Decision::Deny, vec!["score".to_owned()]));
    // The second was judged by what is known of the first.
    let seen = risk.scorer.seen.lock().unwrap().clone().unwrap();
    assert!((seen.count_1h - 2.0).abs() < 1e-6 && (seen.sum_30d - 300.0).abs() < 1e-6, "{seen:?}");
    assert!((seen.amount_to_mean - 2.0).abs() < 1e-6 && (seen.count_to_payee - 1.0).abs() < 1e-6, "{seen:?}");
}

async fn without_a_model_transfers_go_on_by_the_stated_rules<DB: Db>(fixture: Fixture<DB>) {
    let risk = risk(&fixture, None).await;
    show_counters(&risk.metrics);
    for number in 0..9 {
        let small = risk.assess(asked(&format!("t-{number}"), 100)).await.unwrap();
        assert_eq!((small.decision, &*small.by, small.score), (Decision::Allow, "fallback", None));
    }
    let tenth = risk.assess(asked("t-10", 100)).await.unwrap();
    assert_eq!((tenth.decision, tenth.reasons), (Decision::Deny, vec!["count_1h".to_owned()]));
    let large = risk.assess(NewAssessment { from: "a-3".to_owned(), ..asked("t-11", 100_000) }).await.unwrap();
    assert_eq!((large.decision, large.reasons), (Decision::Deny, vec!["amount".to_owned()]));
    // It comes back, and is asked at once.
    *risk.scorer.score.lock().unwrap() = Some(0.1);
    assert_eq!(risk.assess(asked("t-12", 100)).await.unwrap().by, "model 7-1a2b3c4d");
    let text = risk.metrics.render();
    for line in [
        r#"bank_risk_assessments_total{by="fallback",decision="allow"} 9"#,
        r#"bank_risk_assessments_total{by="fallback",decision="deny"} 2"#,
        r#"bank_risk_assessments_total{by="model",decision="allow"} 1"#,
        r#"bank_risk_assessments_total{by="model",decision="deny"} 0"#,
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

async fn of_transfers_asked_about_at_once_the_tenth_is_denied_too<DB: Db>(fixture: Fixture<DB>) {
    let risk = Arc::new(risk(&fixture, None).await);
    // The later it is asked about, the earlier it was: no order of them lets more pass.
    let asking = (0..30).map(|number| {
        let (risk, new) = (risk.clone(), asked(&format!("t-{number}"), 100));
        let new = NewAssessment { at_unix_ms: new.at_unix_ms - number, ..new };
        task::spawn(async move { risk.assess(new).await.unwrap().decision })
    });
    let mut allowed = 0;
    for assessed in asking.collect::<Vec<_>>() {
        allowed += usize::from(assessed.await.unwrap() == Decision::Allow);
    }
    assert_eq!(allowed, 9);
    // Another's are another's.
    let other = risk.assess(NewAssessment { from: "a-3".to_owned(), ..asked("t-31", 100) }).await.unwrap();
    assert_eq!(other.decision, Decision::Allow);
}

async fn what_two_ask_at_once_is_counted_once<DB: Db>(fixture: Fixture<DB>) {
    let risk = risk(&fixture, Some(0.1)).await;
    let new = asked("t-1", 100);
    let (one, other) = tokio::join!(risk.assess(new.clone()), risk.assess(new));
    assert_eq!(one, other);
    let text = risk.metrics.render();
    assert!(text.contains(r#"bank_risk_assessments_total{by="model",decision="allow"} 1"#), "{text}");
}

async fn a_fraud_can_be_reported_of_what_is_known<DB: Db>(fixture: Fixture<DB>) {
    let risk = risk(&fixture, Some(0.1)).await;
    risk.assess(asked("t-1", 100)).await.unwrap();
    let report = |transfer: &str| Report { transfer: transfer.to_owned() };
    let teller = Subject::new("teller").unwrap();
    assert_eq!(risk.report(&teller, report("t-1")).await.unwrap(), report("t-1"));
    for (who, transfer, code) in [
        ("teller", "t-2", Code::NotFound),
        ("teller", "../t", Code::Unprocessable),
        ("ada", "t-1", Code::PermissionDenied),
    ] {
        let error = risk.report(&Subject::new(who).unwrap(), report(transfer)).await.unwrap_err();
        assert_eq!(error.code(), code);
    }
}
