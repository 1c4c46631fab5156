// What this node offers beside the household's rules. Asked once, without a key.

interface Features {
  /** Whether the provider's own log-in is configured. */
  oidc: boolean;
  /** The zone of the harmless names of the home test. */
  test_name: string | null;
}

const NOTHING: Features = { oidc: false, test_name: null };

let asked: Promise<Features> | undefined;

function features(): Promise<Features> {
  asked ??= fetch('/app/settings.json')
    .then(async (answer) =>
      answer.ok ? { ...NOTHING, ...((await answer.json()) as Partial<Features>) } : NOTHING,
    )
    .catch(() => NOTHING);
  return asked;
}

export async function providerLogin(): Promise<boolean> {
  return (await features()).oidc;
}

export async function testName(): Promise<string | null> {
  return (await features()).test_name;
}
