"""A demo for a Hugging Face Space: one picture in, the verdict, its reasons and its map out."""

from __future__ import annotations

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported

import gradio as gr
from PIL import Image

from cinemae import CinemaeError, Detector

WORDS = {"ai": "Likely AI-generated", "uncertain": "Cannot tell", "real": "Likely a photograph"}
NOTICE = """\
# Photograph, or AI-generated?

**A score is a signal, not proof.** It errs in both directions: accuse nobody by it alone."""
MAP_LABEL = "How hard each part is to predict from its surroundings; it does not show what is fake"

detector = Detector.from_pretrained(os.environ.get("CINEMAE_MODEL") or None)


def judge(path: str | None) -> tuple[dict[str, float], str, Image.Image | None]:
    """Return the probabilities by label, the verdict in Markdown, and the map."""
    if path is None:
        raise gr.Error("Choose a picture first.")
    try:
        verdict = detector.detect(path)
        picture = verdict.heatmap()
    except CinemaeError as error:
        raise gr.Error(str(error).replace(repr(path), "given")) from error
    lines = [f"## {WORDS[verdict.verdict]}", "", *(f"* {reason}" for reason in verdict.reasons), ""]
    if verdict.provenance:
        lines += ["**What the file says of its origin**, apart from the score:", ""]
        lines += [f"* {signal.sentence}." for signal in verdict.provenance]
    return {"AI-generated": verdict.prob_fake, "photograph": 1 - verdict.prob_fake}, "\n".join(lines), picture


def build() -> gr.Blocks:
    """Return the page."""
    with gr.Blocks(title="cinemae", analytics_enabled=False) as page:
        gr.Markdown(NOTICE)
        with gr.Row():
            with gr.Column():
                given = gr.Image(type="filepath", label="Picture", sources=["upload", "clipboard"])
                button = gr.Button("Judge", variant="primary")
            with gr.Column():
                probabilities = gr.Label(label="Probability", num_top_classes=2)
                said = gr.Markdown()
        drawn = gr.Image(label=MAP_LABEL, type="pil", format="png", interactive=False)
        button.click(judge, given, [probabilities, said, drawn], api_name="judge")
    return page


if __name__ == "__main__":
    build().queue(max_size=32).launch()
