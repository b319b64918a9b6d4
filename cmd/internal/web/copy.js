// Puts a button beside each text that is to be copied. Without it, a click selects the text.
"use strict";
(() => {
	const words = document.currentScript.dataset;

	function select(text) {
		const range = document.createRange();
		range.selectNodeContents(text);
		getSelection().removeAllRanges();
		getSelection().addRange(range);
	}

	function add(text, number) {
		const button = document.createElement("button");
		button.type = "button";
		button.className = "plain copier noprint";
		button.textContent = words.copy;
		text.id = text.id || "copy-" + number;
		button.setAttribute("aria-describedby", text.id);
		button.addEventListener("click", async () => {
			try {
				await navigator.clipboard.writeText(text.textContent);
			} catch {
				select(text); // the browser forbids it: the keyboard can copy what is selected
				return;
			}
			button.textContent = words.done;
			setTimeout(() => { button.textContent = words.copy; }, 2000);
		});
		text.after(" ", button);
	}

	document.querySelectorAll(".copy, .secret").forEach(add);
})();
