"""How the page looks. Fonts are those of the reader's system: nothing is loaded."""

CSS = """
.gradio-container { max-width: 76rem !important; margin: 0 auto !important; }
.intro h1 { font-size: 2rem; font-weight: 700; letter-spacing: -.02em; margin: .4rem 0 .1rem; }
.intro p { color: var(--body-text-color-subdued); font-size: 1.05rem; max-width: 46rem; margin: 0 0 .4rem; }
.rules p { color: var(--body-text-color-subdued); font-size: .85rem; margin: .2rem 0; }
.note { border-radius: .6rem; padding: .7rem .9rem; border: 1px solid; overflow-wrap: anywhere; }
.note.error { color: #7f1d1d; background: #fef2f2; border-color: #fca5a5; }
.note.warning { color: #713f12; background: #fefce8; border-color: #fde047; }
.note.done { color: var(--body-text-color-subdued); background: var(--block-background-fill);
  border-color: var(--border-color-primary); font-size: .9rem; padding: .45rem .9rem; }
#said { min-height: 3.4rem; }
#said .pending { opacity: 0; }
.empty { border: 2px dashed var(--border-color-primary); border-radius: .8rem; padding: 3.5rem 1.5rem;
  text-align: center; color: var(--body-text-color-subdued); }
.players { display: grid; gap: .7rem; }
.part { border: 1px solid var(--border-color-primary); border-left-width: 5px; border-radius: .6rem;
  background: var(--block-background-fill); padding: .6rem .8rem .7rem; }
.part.mixture { border-left-color: #9ca3af; }
.part.estimate { border-left-color: #d9480f; }
.part.residual { border-left-color: #1c7ed6; }
.part header { display: flex; flex-wrap: wrap; align-items: baseline; gap: .1rem .6rem;
  margin-bottom: .4rem; }
.part h3 { font-size: 1rem; font-weight: 650; margin: 0; }
.part p { flex: 1 1 11rem; margin: 0; color: var(--body-text-color-subdued); font-size: .92rem;
  overflow-wrap: anywhere; }
.part a { font-size: .88rem; white-space: nowrap; color: inherit; text-decoration: underline; }
.part audio { display: block; width: 100%; height: 2.6rem; }
.spectrograms { margin: .9rem 0 0; }
.spectrograms img { width: 100%; height: auto; border-radius: .6rem; background: #fff;
  border: 1px solid var(--border-color-primary); }
.spectrograms figcaption { color: var(--body-text-color-subdued); font-size: .82rem; margin-top: .3rem; }
.html-container { padding: 0 !important; }
.examples { gap: .5rem !important; }
.examples button { font-weight: 400; font-size: .9rem; }
"""
