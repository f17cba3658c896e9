for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", () => {
    const text = button.parentElement.querySelector("pre");
    const done = () => {
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    };
    const select = () => {
      const range = document.createRange();
      range.selectNodeContents(text);
      const selection = getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
    };
    // A page opened from a file may not have a clipboard.
    if (navigator.clipboard) navigator.clipboard.writeText(text.textContent).then(done, select);
    else select();
  });
}
