// What can be done with dead letters: giving them back to their groups, and deleting them for good.

import { path, post } from './api.js';
import { count } from './format.js';
import { t, tn } from './i18n.js';
import { ask, say } from './ui.js';

const NAMED_MAX = 20;

// `which`: the letters, or 'all'; `letters`: those that are known. Resolves to whether it was done.
export const redrive = (of) => act(of, {
  way: 'redrive', tone: 'main', title: t('Redrive dead letters'),
  word: (n) => tn('Redrive {n} dead letter', 'Redrive {n} dead letters', n),
  what: t('Each becomes a new message at the end of the topic, for its group alone. Redrive once the cause is mended, or it dies again.'),
  gone: t('It is not there any more, or its group is gone: nothing was given back.'),
  done: (n) => tn('{n} dead letter given back', '{n} dead letters given back', n),
});

export const purge = (of) => act(of, {
  way: 'purge', tone: 'danger', title: t('Purge dead letters'),
  word: (n) => tn('Purge {n} dead letter', 'Purge {n} dead letters', n),
  what: t('They are deleted for good: nobody will process them.'),
  gone: t('It is not there any more: nothing was deleted.'),
  done: (n) => tn('{n} dead letter deleted', '{n} dead letters deleted', n),
});

async function act({ topic, letters, which }, { way, tone, title, word, what, gone, done }) {
  const isAll = which === 'all';
  const address = path('/v1/topics', topic.name, 'dead', way);
  let acted = 0;
  const isDone = await ask({
    title, tone,
    word: word(isAll ? topic.dead : which.length),
    touches: [...touched(topic, letters, which), what],
    act: async () => {
      acted = await (isAll ? one(address, 'all') : each(address, which));
      if (acted === 0) throw new Error(gone);
    },
  });
  if (isDone) say(done(acted));
  return isDone;
}

const one = async (address, which) => (await post(address, { which })).count;

// One after the other; what is done when one fails stays done.
async function each(address, letters) {
  let acted = 0;
  for (const { position } of letters) {
    try {
      acted += await one(address, { at: position });
    } catch (error) {
      if (acted > 0) error.message = t('{done} of {all} are done, then: {why}', { done: acted, all: letters.length, why: error.message });
      throw error;
    }
  }
  return acted;
}

// How many, of which topic and of which groups.
function touched(topic, letters, which) {
  const some = which === 'all' ? letters : which;
  const groups = Map.groupBy(some, ({ group }) => group);
  const isWhole = which !== 'all' || letters.length >= topic.dead;
  const ofGroups = [...groups].map(([group, { length }]) => (isWhole
    ? tn('{n} of group {group}', '{n} of group {group}', length, { group })
    : tn('at least {n} of group {group}', 'at least {n} of group {group}', length, { group })));
  if (which === 'all') {
    const values = { topic: topic.name, n: count(topic.dead) };
    return [t('all dead letters of topic {topic}: {n} now, and those that come until then', values), ...ofGroups];
  }
  const named = which.slice(0, NAMED_MAX).map(({ position }) => position).join(', ') + (which.length > NAMED_MAX ? ' …' : '');
  const values = { named, topic: topic.name };
  const all = tn('dead letter {named} of topic {topic}', '{n} dead letters of topic {topic}: {named}', which.length, values);
  return [all, ...ofGroups];
}
