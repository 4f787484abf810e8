// Which relay holds which lane: a cell each, in the colour of its relay, with its letter for whoever sees no colours.

import { h } from './dom.js';

export function laneMap(status) {
  const relays = status.relays ?? [];
  const owners = new Map(relays.flatMap((relay, index) => relay.lanes.map((lane) => [lane, index])));
  const unowned = new Set(status.unowned_lanes ?? []);
  const cells = Array.from({ length: status.lanes ?? 0 }, (_, lane) => {
    const owner = owners.get(lane);
    const free = unowned.has(lane) || owner === undefined;
    return h(
      'li',
      {
        class: free ? 'free' : `lane-${owner % 6}`,
        title: free ? `Lane ${lane}: no relay holds it` : `Lane ${lane}: ${relays[owner].name}`,
      },
      h('span', { class: 'unseen' }, free ? `lane ${lane} free` : `lane ${lane} `),
      free ? '' : String.fromCharCode(65 + (owner % 26)),
    );
  });
  return h('ol', { class: 'lanes', 'aria-label': 'Lanes' }, cells);
}
