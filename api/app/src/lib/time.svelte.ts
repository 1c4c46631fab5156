// Instants and durations in the words of the app's language, and a clock that ticks.

import { language, t } from './i18n';

/** How often shown durations change. */
const TICK_MS = 1_000;

const clock = $state({ now: Date.now() });
setInterval(() => (clock.now = Date.now()), TICK_MS);

/** The current time in milliseconds; what reads it in a template follows it. */
export function now(): number {
  return clock.now;
}

/** "21:30" today, "yesterday 21:30", "3 June 21:30" else. */
export function moment(at: string | number): string {
  const date = new Date(at);
  const days = Math.round((midnight(new Date(now())) - midnight(date)) / 86_400_000);
  const time = date.toLocaleTimeString(language(), { hour: '2-digit', minute: '2-digit' });
  if (days === 0) return t.time.today(time);
  if (days === 1) return t.time.yesterday(time);
  if (days === -1) return t.time.tomorrow(time);
  return `${date.toLocaleDateString(language(), { day: 'numeric', month: 'long' })}, ${time}`;
}

/** "today", "yesterday", "3 June": an instant that is known roughly. */
export function day(at: string): string {
  const date = new Date(at);
  const days = Math.round((midnight(new Date(now())) - midnight(date)) / 86_400_000);
  if (days === 0) return t.time.day.today;
  if (days === 1) return t.time.day.yesterday;
  return date.toLocaleDateString(language(), { day: 'numeric', month: 'long' });
}

function midnight(date: Date): number {
  return new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
}

/** Seconds until an instant, 0 once it is past. */
export function secondsUntil(at: string): number {
  return Math.max(0, Math.round((Date.parse(at) - now()) / 1000));
}

/** "1:05:09" or "12:34", for countdowns. */
export function countdown(seconds: number): string {
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor((seconds % 3600) / 60);
  const two = (value: number) => String(value).padStart(2, '0');
  const rest = `${hours ? two(minutes) : minutes}:${two(seconds % 60)}`;
  return hours ? `${hours}:${rest}` : rest;
}

/** "12 minutes", "1 hour 5 minutes", "2 days": for screen readers and sentences. */
export function spoken(seconds: number): string {
  if (seconds < 60) return t.time.seconds(seconds);
  const minutes = Math.ceil(seconds / 60);
  if (minutes < 60) return t.time.minutes(minutes);
  if (minutes < 48 * 60) {
    const rest = minutes % 60;
    const hours = t.time.hours(Math.floor(minutes / 60));
    return rest ? `${hours} ${t.time.minutes(rest)}` : hours;
  }
  return t.time.days(Math.round(minutes / 1440));
}
