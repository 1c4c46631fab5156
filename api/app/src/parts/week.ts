// The blocks of a schedule in a week that begins on Monday.

import type { Schemas } from '../lib/api';
import type { Authored } from '../lib/who';

type Day = Schemas['DayOfWeek'];

export type Schedule = Omit<Schemas['Schedule'], 'set_at' | 'set_by'> & Authored;

export const DAYS: Day[] = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'];

export interface Block {
  /** 0 is Monday. */
  day: number;
  /** Minutes of the day. */
  from: number;
  to: number;
}

/** A schedule over midnight has two blocks a day: to the end of its day, and on the next. */
export function blocksOf(schedule: Pick<Schedule, 'days' | 'from' | 'to'>): Block[] {
  const from = minutes(schedule.from);
  const to = minutes(schedule.to);
  return schedule.days.flatMap((name) => {
    const day = DAYS.indexOf(name);
    if (from < to) return [{ day, from, to }];
    const next = { day: (day + 1) % 7, from: 0, to };
    return to > 0 ? [{ day, from, to: 1440 }, next] : [{ day, from, to: 1440 }];
  });
}

function minutes(time: string): number {
  const [hours = 0, rest = 0] = time.split(':').map(Number);
  return hours * 60 + rest;
}
