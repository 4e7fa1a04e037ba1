/** The preload has no exports: `node --import waymark/register <runner> …`. */
export {};
