export * from './lib/checkpoint-manager.mjs';
export { default } from './lib/checkpoint-manager.mjs';
