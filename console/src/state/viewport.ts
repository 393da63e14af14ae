/** Whether two panes have room side by side. The style sheet asks for the same width. */
import { readonly, ref } from 'vue'

const narrow = window.matchMedia('(max-width: 900px)')
const current = ref(narrow.matches)
narrow.addEventListener('change', ({ matches }) => (current.value = matches))

export const isNarrow = readonly(current)
