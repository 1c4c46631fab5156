// What this node offers before a log-in.

/** Whether the provider's own log-in is configured. */
export async function providerLogin(): Promise<boolean> {
  try {
    const answer = await fetch('/app/settings.json');
    const settings = (await answer.json()) as { oidc?: boolean };
    return settings.oidc === true;
  } catch {
    return false;
  }
}
