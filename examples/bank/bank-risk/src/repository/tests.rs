//! That what is kept is what was said first, and that of the rest there is what features need.

use bank_features::DAY_MS;
use example_sql::{on_both, testing::Fixture};

use super::*;
use crate::assessment::Currency;

on_both!(
    what_was_decided_first_holds_for_two_replicas,
    an_account_is_known_by_what_it_tried_but_for_what_was_declined_elsewhere,
    a_payee_is_known_after_a_week_by_reports_alone,
    what_is_too_old_is_forgotten_when_something_is_told,
);

pub(crate) const NOW: i64 = 1_767_787_200_000;

/// Of 100 to `a-9`.
pub(crate) fn asked(transfer: &str, from: &str, at_unix_ms: i64) -> NewAssessment {
    let (transfer, from, to) = (transfer.to_owned(), from.to_owned(), "a-9".to_owned());
    NewAssessment { transfer, from, to, amount: 100, currency: Currency::Eur, at_unix_ms }
}

fn ended(transfer: &str, outcome: Outcome, at_ms: i64) -> Ended {
    let (transfer, from, to) = (transfer.to_owned(), "a-1".to_owned(), "a-9".to_owned());
    Ended { transfer, from, to, amount: 100, at_ms, told_ms: at_ms, outcome }
}

fn allowed() -> Decided<'static> {
    Decided::Scored(Assessment::new(Some(0.25), "model 7".to_owned(), &[]))
}

fn denied() -> Decided<'static> {
    Decided::Scored(Assessment::new(Some(0.75), "model 7".to_owned(), &["score"]))
}

/// Another replica's.
pub(crate) async fn opened<DB: Db>(fixture: &Fixture<DB>) -> SqlAssessments<DB> {
    SqlAssessments(fixture.open(&sqlx::migrate!()).await)
}

async fn what_was_decided_first_holds_for_two_replicas<DB: Db>(fixture: Fixture<DB>) {
    let (one, other) = tokio::join!(opened(&fixture), opened(&fixture));
    let new = asked("t-1", "a-1", NOW);
    let (allowed, denied) = (allowed(), denied());
    let (a, b) = tokio::join!(one.keep(&new, &allowed), other.keep(&new, &denied));
    let ((a, is_a), (b, is_b)) = (a.unwrap(), b.unwrap());
    assert_eq!(a, b);
    assert!(is_a != is_b, "one of the two is new");
    assert_eq!(one.find("t-1").await.unwrap(), Some(a.clone()));
    assert_eq!(a.assessment.decision, if is_a { Decision::Allow } else { Decision::Deny });
    assert!(a.is_of(&asked("t-1", "a-1", NOW + 1)));
    assert!(!a.is_of(&asked("t-1", "a-2", NOW)));
    assert!(!a.is_of(&NewAssessment { currency: Currency::Usd, ..new.clone() }));
    assert!(!a.is_of(&NewAssessment { amount: 101, ..new }));
    assert_eq!(other.find("t-2").await.unwrap(), None);
}

async fn an_account_is_known_by_what_it_tried_but_for_what_was_declined_elsewhere<DB: Db>(fixture: Fixture<DB>) {
    let risk = opened(&fixture).await;
    for (transfer, decided) in [("t-1", allowed()), ("t-2", denied()), ("t-3", allowed())] {
        risk.keep(&asked(transfer, "a-1", NOW), &decided).await.unwrap();
    }
    // t-4 was never asked about; t-3 and t-5 moved no money, t-2 was denied here.
    let told = [
        ended("t-1", Outcome::Settled, NOW + 1),
        ended("t-2", Outcome::Declined, NOW + 2),
        ended("t-3", Outcome::Declined, NOW + 3),
        ended("t-4", Outcome::Settled, NOW + 4),
        ended("t-5", Outcome::Declined, NOW + 5),
    ];
    for _ in 0..2 {
        risk.note(&told).await.unwrap();
    }
    let history = risk.history(&asked("t-6", "a-1", NOW + 10)).await.unwrap();
    let ages: Vec<i64> = history.paid.iter().map(|paid| NOW + 10 - paid.at_ms).collect();
    assert_eq!(ages, [6, 10, 10]);
    assert!(history.paid.iter().all(|paid| paid.is_to_payee && paid.amount == 100));
    // Neither itself nor what is later.
    assert_eq!(risk.history(&asked("t-1", "a-1", NOW)).await.unwrap().paid.len(), 1);
    assert_eq!(risk.history(&asked("t-6", "a-2", NOW + 10)).await.unwrap().paid, []);
}

async fn a_payee_is_known_after_a_week_by_reports_alone<DB: Db>(fixture: Fixture<DB>) {
    let risk = opened(&fixture).await;
    for (transfer, decided) in [("t-1", allowed()), ("t-2", denied()), ("t-3", allowed())] {
        risk.keep(&asked(transfer, transfer, NOW), &decided).await.unwrap();
    }
    for _ in 0..2 {
        assert!(risk.report("t-3").await.unwrap());
    }
    assert!(!risk.report("t-4").await.unwrap());
    let received = async |days| risk.history(&asked("t-9", "a-1", NOW + days * DAY_MS)).await.unwrap().received;
    assert_eq!(received(6).await, []);
    let flagged: Vec<bool> = received(7).await.into_iter().map(|one| one.is_flagged).collect();
    // What was denied nobody received.
    assert_eq!(flagged, [true, false]);
    // A report counts, whatever the model said.
    assert!(risk.report("t-2").await.unwrap());
    assert_eq!(received(7).await.len(), 3);
    assert_eq!(received(37).await, []);
}

async fn what_is_too_old_is_forgotten_when_something_is_told<DB: Db>(fixture: Fixture<DB>) {
    let risk = opened(&fixture).await;
    for (transfer, at_ms) in [("t-1", NOW), ("t-2", NOW + 2 * DAY_MS)] {
        risk.keep(&asked(transfer, "a-1", at_ms), &allowed()).await.unwrap();
    }
    let rules = Rules::default();
    for (transfer, payer, at_ms) in [("t-4", "a-4", NOW), ("t-5", "a-5", NOW), ("t-6", "a-5", NOW + 2 * DAY_MS)] {
        risk.keep(&asked(transfer, payer, at_ms), &Decided::Unscored(&rules)).await.unwrap();
    }
    risk.note(&[ended("t-3", Outcome::Settled, NOW + KEPT_MS + 1)]).await.unwrap();
    let select = Statement::new("SELECT payer FROM paces");
    let rows = risk.0.rows(&mut *risk.0.read().await.unwrap(), "paces", select).await.unwrap();
    let paces: Vec<String> = rows.iter().map(|row| row.text("payer").unwrap()).collect();
    assert_eq!(paces, ["a-5"]);
    assert_eq!(risk.find("t-1").await.unwrap(), None);
    assert!(!risk.report("t-1").await.unwrap());
    assert!(risk.find("t-2").await.unwrap().is_some() && risk.report("t-2").await.unwrap());
    risk.note(&[]).await.unwrap();
}
