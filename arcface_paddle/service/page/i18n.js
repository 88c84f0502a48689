// Every text of the page in English and Chinese, and the language in use.
//
// "a|b" is singular|plural of {n}. An element remembers the key of its text, so that a switch of language reaches what
// is on the page already. "code.X" says what the service's code X of an error means.

const TEXTS = {
  "page.skip": { en: "Skip to the content", zh: "跳到内容" },
  "page.views": { en: "Views", zh: "页面" },
  "page.other_language": { en: "中文", zh: "English" },
  "page.switch_language": { en: "中文 (switch language)", zh: "English（切换语言）" },
  "page.switch_theme": { en: "Dark or light", zh: "深色或浅色" },
  "page.close": { en: "Close", zh: "关闭" },
  "dialog.cancel": { en: "Cancel", zh: "取消" },

  "error.unreachable": { en: "The service does not answer. Is it running, and is the network up?", zh: "服务没有回应。请检查服务是否在运行、网络是否正常。" },
  "error.http": { en: "The service answered with status {status} and no message.", zh: "服务返回状态 {status}，没有说明。" },
  "error.enter_key": { en: "Enter an API key", zh: "输入 API 密钥" },

  "code.bad_request": { en: "The service cannot read the request.", zh: "服务无法读取该请求。" },
  "code.bad_value": { en: "A value is not allowed.", zh: "有一个值不符合要求。" },
  "code.unauthorized": { en: "A valid API key is needed.", zh: "需要有效的 API 密钥。" },
  "code.forbidden": { en: "This key may not do that.", zh: "此密钥无权执行该操作。" },
  "code.not_found": { en: "It is not there any more.", zh: "找不到，可能已被删除。" },
  "code.method_not_allowed": { en: "The service does not offer that.", zh: "服务不提供该操作。" },
  "code.slow_upload": { en: "The upload took too long. Try again, or send a smaller picture.", zh: "上传时间过长。请重试，或换一张较小的图片。" },
  "code.name_taken": { en: "Another person has that name.", zh: "已有同名的人。" },
  "code.gallery": { en: "The gallery does not allow that.", zh: "人脸库不允许该操作。" },
  "code.too_large": { en: "The picture or the upload is too large.", zh: "图片或上传内容过大。" },
  "code.unsupported_media": { en: "The service does not take files of that type.", zh: "服务不接受这种类型的文件。" },
  "code.bad_image": { en: "The file is no picture, or damaged.", zh: "文件不是图片，或已损坏。" },
  "code.no_face": { en: "No face was found in the picture.", zh: "图片中没有找到人脸。" },
  "code.several_faces": { en: "The picture shows several faces. Crop it to one.", zh: "图片中有多张人脸，请裁剪到只剩一张。" },
  "code.small_face": { en: "The face is too small to tell people apart.", zh: "人脸太小，无法区分不同的人。" },
  "code.too_many_faces": { en: "The picture shows more faces than are allowed.", zh: "图片中的人脸数量超过上限。" },
  "code.rate_limited": { en: "Too many requests with this key. Wait a little.", zh: "此密钥的请求过于频繁，请稍候。" },
  "code.not_installed": { en: "The service lacks a package for that. Tell its operator.", zh: "服务缺少所需的软件包，请联系管理员。" },
  "code.misconfigured": { en: "The service is not set up well. Tell its operator.", zh: "服务配置有误，请联系管理员。" },
  "code.internal": { en: "Something went wrong in the service. Tell its operator.", zh: "服务内部出错，请联系管理员。" },
  "code.gallery_unavailable": { en: "The gallery cannot be read or written just now.", zh: "人脸库暂时无法读写。" },
  "code.busy": { en: "The service is busy. Try again in a moment.", zh: "服务繁忙，请稍后再试。" },
  "code.timed_out": { en: "The service was not done in time. Try again, or send a smaller picture.", zh: "服务未能及时完成。请重试，或换一张较小的图片。" },

  "access.other_key": { en: "Use another key", zh: "使用其他密钥" },
  "access.people": { en: "To enrol, change or delete people, a key with the role “write” is needed.", zh: "登记、修改或删除人员，需要角色为 “write” 的密钥。" },
  "access.unknown": { en: "To see and name unknown faces, a key with the role “write” is needed.", zh: "查看和命名未知人脸，需要角色为 “write” 的密钥。" },
  "access.title": { en: "What this key may do", zh: "此密钥的权限" },
  "access.none": { en: "No valid key is in use: the service answers nothing but its health.", zh: "未使用有效密钥：除健康状态外，服务不作任何回应。" },
  "access.open": { en: "This service asks for no keys: everybody on this machine may do everything.", zh: "此服务不要求密钥：本机上的任何人都可执行所有操作。" },
  "access.own": { en: "The key “{name}” has the role “{role}”.", zh: "密钥 “{name}” 的角色是 “{role}”。" },
  "access.role": { en: "Role", zh: "角色" },
  "access.allows": { en: "Allows", zh: "可执行" },
  "access.read": { en: "recognise, compare, look at people and at the gallery", zh: "识别、比对、查看人员和人脸库" },
  "access.write": { en: "also enrol, change, merge and delete people, and name unknown faces", zh: "另可登记、修改、合并和删除人员，以及命名未知人脸" },
  "access.admin": { en: "also read the service's metrics", zh: "另可读取服务指标" },
  "access.yours": { en: "yours", zh: "当前" },

  "picture.how_many": { en: "Choose or drop", zh: "选择或拖放" },
  "picture.how": { en: "Choose, drop or paste", zh: "选择、拖放或粘贴" },
  "camera.start": { en: "Use the camera", zh: "使用摄像头" },
  "camera.stop": { en: "Stop the camera", zh: "停止摄像头" },
  "camera.turn": { en: "Other camera", zh: "切换摄像头" },
  "camera.insecure": { en: "A browser gives the camera only to pages opened over https or from localhost.", zh: "浏览器只允许通过 https 或 localhost 打开的页面使用摄像头。" },
  "camera.refused": { en: "The camera was not allowed. Allow it in the browser's settings for this page.", zh: "未获准使用摄像头。请在浏览器中允许本页使用摄像头。" },
  "camera.missing": { en: "No camera could be opened: {reason}", zh: "无法打开摄像头：{reason}" },

  "face.unknown": { en: "unknown", zh: "未知" },
  "face.values": { en: "similarity {similarity} · probability {probability}", zh: "相似度 {similarity} · 概率 {probability}" },
  "face.nearest": { en: "also near: {names}", zh: "其次接近：{names}" },
  "face.enrol": { en: "Enrol…", zh: "登记…" },

  "recognise.tab": { en: "Recognise", zh: "识别" },
  "recognise.title": { en: "Who is in the picture?", zh: "图中是谁？" },
  "recognise.drop": { en: "A picture with faces", zh: "一张有人脸的图片" },
  "recognise.list": { en: "Faces found", zh: "找到的人脸" },
  "recognise.empty": { en: "Choose a picture, paste one, or start the camera: faces and names appear here.", zh: "选择或粘贴一张图片，或打开摄像头：人脸和姓名会显示在这里。" },
  "recognise.nobody": { en: "No face was found. Try a sharper picture, or one where faces are larger.", zh: "没有找到人脸。请换一张更清晰或人脸更大的图片。" },
  "recognise.nobody_live": { en: "Nobody is before the camera.", zh: "摄像头前没有人。" },
  "recognise.found": { en: "{n} face: {names}|{n} faces: {names}", zh: "{n} 张人脸：{names}" },

  "people.tab": { en: "People", zh: "人员" },
  "people.title": { en: "People of the gallery", zh: "人脸库人员" },
  "people.search": { en: "Search by name", zh: "按姓名搜索" },
  "people.search_hint": { en: "Name", zh: "姓名" },
  "people.enrol": { en: "Enrol a person", zh: "登记人员" },
  "people.enrol_many": { en: "Enrol many…", zh: "批量登记…" },
  "people.page": { en: "Page", zh: "页" },
  "people.pages": { en: "of {pages}", zh: "/ {pages}" },
  "people.first": { en: "First page", zh: "第一页" },
  "people.last": { en: "Last page", zh: "最后一页" },
  "people.face_of": { en: "Face of {name}", zh: "{name} 的人脸" },
  "people.no_crops": { en: "This service keeps no pictures: of each face it stores the numbers that tell people apart, and the name of the file. Its operator can start it with --keep_crops to see faces here.", zh: "此服务不保存图片：每张人脸只存储用于区分人员的数值和文件名。管理员可用 --keep_crops 启动服务，以便在此看到人脸。" },
  "people.empty": { en: "The gallery is empty. Enrol the first person with a name and a picture.", zh: "人脸库是空的。请用姓名和图片登记第一个人。" },
  "people.none_found": { en: "Nobody's name contains “{search}”. Try fewer letters, or enrol the person.", zh: "没有姓名包含“{search}”。请减少字数，或登记此人。" },
  "people.choose": { en: "Choose a person to see the faces, rename, merge or delete.", zh: "选择一个人，可查看人脸、改名、合并或删除。" },
  "people.range": { en: "{first} to {last} of {total}", zh: "第 {first} 到 {last} 个，共 {total} 个" },
  "people.paging": { en: "Pages of the list", zh: "列表分页" },
  "people.previous": { en: "Previous", zh: "上一页" },
  "people.next": { en: "Next", zh: "下一页" },
  "people.back": { en: "Back to the list", zh: "返回列表" },
  "people.faces": { en: "{n} face|{n} faces", zh: "{n} 张人脸" },
  "people.until": { en: "until {day}", zh: "有效至 {day}" },
  "people.name": { en: "Name", zh: "姓名" },
  "people.consent": { en: "Consent", zh: "同意记录" },
  "people.consent_hint": { en: "How and when the person agreed, for your records", zh: "此人何时、以何种方式同意，供备查" },
  "people.expires": { en: "Expires", zh: "到期日" },
  "people.expires_hint": { en: "After this day the person is deleted; empty: never", zh: "此日之后删除此人；留空则永不到期" },
  "people.created": { en: "Enrolled", zh: "登记日" },
  "people.id": { en: "Identifier", zh: "标识" },
  "people.pictures": { en: "Pictures with one face each", zh: "每张含一张人脸的图片" },
  "people.picture_needed": { en: "Add at least one picture of the person.", zh: "请至少添加一张此人的图片。" },
  "people.take_out": { en: "Take this picture out", zh: "移除这张图片" },
  "people.enrolled": { en: "{name} is enrolled.", zh: "{name} 已登记。" },
  "people.edit": { en: "Edit…", zh: "编辑…" },
  "people.edit_title": { en: "Edit {name}", zh: "编辑 {name}" },
  "people.save": { en: "Save", zh: "保存" },
  "people.changed": { en: "The changes are saved.", zh: "更改已保存。" },
  "people.merge": { en: "Merge…", zh: "合并…" },
  "people.merge_now": { en: "Merge", zh: "合并" },
  "people.merge_title": { en: "Merge {name} into…", zh: "将 {name} 合并到…" },
  "people.merge_text": { en: "All faces go to the other person, whose name stays.", zh: "所有人脸将归入另一个人，并保留后者的姓名。" },
  "people.merge_into": { en: "Merge into", zh: "合并到" },
  "people.merge_choose": { en: "Choose the person to merge into.", zh: "请选择要合并到的人。" },
  "people.merged": { en: "{name} is merged.", zh: "{name} 已合并。" },
  "people.nobody_else": { en: "Nobody else has such a name.", zh: "没有其他人叫这个名字。" },
  "people.delete": { en: "Delete…", zh: "删除…" },
  "people.delete_now": { en: "Delete", zh: "删除" },
  "people.delete_named": { en: "Delete {name}", zh: "删除 {name}" },
  "people.delete_title": { en: "Delete {name}?", zh: "删除 {name}？" },
  "people.delete_text": { en: "The person and {n} face are deleted for good.|The person and {n} faces are deleted for good.", zh: "将永久删除此人及其 {n} 张人脸。" },
  "people.deleted": { en: "{name} is deleted.", zh: "{name} 已删除。" },
  "people.no_faces": { en: "No face yet: this person cannot be recognised. Add a picture below.", zh: "还没有人脸，无法识别此人。请在下方添加图片。" },
  "people.add_faces": { en: "Add pictures of this person", zh: "添加此人的图片" },
  "people.added": { en: "{n} face was added.|{n} faces were added.", zh: "已添加 {n} 张人脸。" },
  "people.refused": { en: "{file}:", zh: "{file}：" },
  "people.face_facts": { en: "quality {quality} · added {day}", zh: "质量 {quality} · 添加于 {day}" },
  "people.delete_face": { en: "Delete this face?", zh: "删除这张人脸？" },
  "people.delete_face_text": { en: "{source} is deleted from the gallery for good.", zh: "将从人脸库永久删除 {source}。" },
  "people.face_deleted": { en: "The face is deleted.", zh: "人脸已删除。" },

  "bulk.title": { en: "Enrol many people", zh: "批量登记" },
  "bulk.how": { en: "A folder with one folder for each person, a zip of such, or pictures called after their person: “Grace Hopper 2.jpg”. Each picture shows one face.", zh: "一个文件夹（每人一个子文件夹）、这样的 zip 文件，或以姓名命名的图片，如 “王芳 2.jpg”。每张图片含一张人脸。" },
  "bulk.folder": { en: "A folder", zh: "文件夹" },
  "bulk.files": { en: "Pictures or a zip", zh: "图片或 zip 文件" },
  "bulk.pictures": { en: "{n} picture|{n} pictures", zh: "{n} 张图片" },
  "bulk.people": { en: "of {n} person.|of {n} people.", zh: "，共 {n} 人。" },
  "bulk.zips": { en: "{n} zip, whose folders name the people.|{n} zips, whose folders name the people.", zh: "{n} 个 zip 文件，按其中的文件夹命名人员。" },
  "bulk.others": { en: "{n} other file is left out.|{n} other files are left out.", zh: "另有 {n} 个其他文件将被忽略。" },
  "bulk.names_by": { en: "The name of a person is", zh: "姓名取自" },
  "bulk.by_folders": { en: "the folder's", zh: "文件夹名" },
  "bulk.by_files": { en: "the file's, without its number", zh: "文件名（去掉编号）" },
  "bulk.begin": { en: "Enrol them", zh: "开始登记" },
  "bulk.stop": { en: "Stop", zh: "停止" },
  "bulk.progress": { en: "Pictures looked at", zh: "已处理的图片" },
  "bulk.counts": { en: "{done} of {total} pictures looked at · {enrolled} enrolled · {problems} without success", zh: "已处理 {done} / {total} 张图片 · 登记 {enrolled} 张 · 未成功 {problems} 张" },
  "bulk.sending": { en: "sending {percent} %", zh: "正在上传 {percent} %" },
  "bulk.done": { en: "The pictures are enrolled.", zh: "图片登记完成。" },
  "bulk.cancelled": { en: "Stopped. What was enrolled stays.", zh: "已停止。已登记的内容保留。" },
  "bulk.broken": { en: "It ended early. What was enrolled stays.", zh: "提前结束。已登记的内容保留。" },
  "bulk.problems": { en: "Pictures that gave no face", zh: "未成功的图片" },
  "bulk.more": { en: "and {n} more; the saved list has all|and {n} more; the saved list has all", zh: "还有 {n} 张；完整内容见保存的列表" },
  "bulk.save": { en: "Save the list", zh: "保存列表" },

  "unknown.tab": { en: "Unknown", zh: "未知" },
  "unknown.title": { en: "Faces without a name", zh: "没有姓名的人脸" },
  "unknown.text": { en: "Groups of unknown faces seen since the service started. They live in memory only.", zh: "服务启动以来见到的未知人脸分组，仅保存在内存中。" },
  "unknown.off": { en: "The service keeps no unknown faces. Its operator can start it with --keep_unknown.", zh: "服务不保留未知人脸。管理员可用 --keep_unknown 启动服务。" },
  "unknown.empty": { en: "No unknown face so far. Recognise some pictures, then look here again.", zh: "目前没有未知人脸。请先识别一些图片，再回来查看。" },
  "unknown.group": { en: "Group {group}", zh: "第 {group} 组" },
  "unknown.seen": { en: "last seen {moment}", zh: "最近出现 {moment}" },
  "unknown.who": { en: "Who is this?", zh: "这是谁？" },
  "unknown.name": { en: "Name…", zh: "命名…" },
  "unknown.name_now": { en: "Name", zh: "命名" },
  "unknown.forget": { en: "Forget", zh: "忘记" },
  "unknown.forgotten": { en: "The group is forgotten.", zh: "该组已忘记。" },
  "unknown.reload": { en: "Look again", zh: "刷新" },

  "compare.tab": { en: "Compare", zh: "比对" },
  "compare.title": { en: "One person or two?", zh: "是同一个人吗？" },
  "compare.first": { en: "First picture", zh: "第一张图片" },
  "compare.second": { en: "Second picture", zh: "第二张图片" },
  "compare.empty": { en: "Choose two pictures: the answer appears here.", zh: "选择两张图片，结果会显示在这里。" },
  "compare.same": { en: "The same person", zh: "同一个人" },
  "compare.different": { en: "Different people", zh: "不是同一个人" },
  "compare.similarity": { en: "Similarity", zh: "相似度" },
  "compare.probability": { en: "Probability of one person", zh: "同一个人的概率" },
  "compare.threshold": { en: "Threshold", zh: "阈值" },

  "settings.tab": { en: "Gallery", zh: "人脸库" },
  "settings.title": { en: "Gallery and settings", zh: "人脸库与设置" },
  "settings.statistics": { en: "Gallery", zh: "人脸库" },
  "settings.people": { en: "People", zh: "人数" },
  "settings.faces": { en: "Faces", zh: "人脸数" },
  "settings.engine": { en: "Engine", zh: "引擎" },
  "settings.model": { en: "Model", zh: "模型" },
  "settings.bytes": { en: "Size", zh: "大小" },
  "settings.crops": { en: "Pictures of faces", zh: "人脸图片" },
  "settings.crops_kept": { en: "small ones are kept beside the gallery, encrypted where its file is, and deleted with their person", zh: "在人脸库旁保存小图（人脸库文件加密时亦加密），随人员一并删除" },
  "settings.crops_none": { en: "none are kept", zh: "不保存" },
  "settings.threshold": { en: "Threshold of a name", zh: "命名阈值" },
  "settings.least": { en: "Least similarity", zh: "最低相似度" },
  "settings.threshold_hint": { en: "Used by Recognise in this tab. A higher threshold names fewer strangers and misses more of the people you know.", zh: "用于本标签页的识别。阈值越高，误认陌生人越少，漏认熟人越多。" },
  "settings.reset": { en: "Use the service's own", zh: "使用服务的默认值" },
  "settings.far": { en: "FAR {far}: of two different people, 1 pair in {n} is taken for one person.", zh: "误识率 (FAR) {far}：两个不同的人，约每 {n} 对有 1 对被当作同一人。" },
  "settings.far_below": { en: "FAR below {far}: fewer than 1 pair in {n} of different people is taken for one person.", zh: "误识率 (FAR) 低于 {far}：不同的人，每 {n} 对中不到 1 对被当作同一人。" },
  "settings.far_above": { en: "FAR above {far}: more than 1 pair in {n} of different people is taken for one person.", zh: "误识率 (FAR) 高于 {far}：不同的人，每 {n} 对中多于 1 对被当作同一人。" },
  "settings.far_unknown": { en: "The model's card has no table of false acceptance rates.", zh: "模型卡中没有误识率表。" },
  "settings.fpir": { en: "Searched among {n} face, a stranger gets a name in about {fpir} % of the searches.|Searched among {n} faces, a stranger gets a name in about {fpir} % of the searches.", zh: "在 {n} 张人脸中搜索时，陌生人约有 {fpir} % 的概率得到姓名。" },
  "settings.models": { en: "Models", zh: "模型" },
  "settings.detector": { en: "Detector", zh: "检测模型" },
  "settings.recognizer": { en: "Recogniser", zh: "识别模型" },
  "settings.whole_card": { en: "The whole card", zh: "完整模型卡" },
  "settings.key": { en: "API key", zh: "API 密钥" },
  "settings.key_field": { en: "Key", zh: "密钥" },
  "settings.key_hint": { en: "Kept in this tab only and forgotten when it closes. The operator makes keys with “arcface-paddle serve keys add”.", zh: "只保存在本标签页，关闭后即忘记。管理员用 “arcface-paddle serve keys add” 创建密钥。" },
  "settings.docs": { en: "Description of the HTTP interface", zh: "HTTP 接口说明" },
  "settings.key_keep": { en: "Use this key", zh: "使用此密钥" },
  "settings.key_forget": { en: "Forget", zh: "忘记" },
  "settings.key_kept": { en: "The key is used in this tab.", zh: "本标签页将使用此密钥。" },
  "settings.key_forgotten": { en: "The key is forgotten.", zh: "密钥已忘记。" },
};

let current = "en";

/** The other language of each. */
export const OTHER = { en: "zh", zh: "en" };

export const language = () => current;

/** @param {string} tag a language tag such as "zh-CN"; all but Chinese is English */
export function setLanguage(tag) {
  current = tag.toLowerCase().startsWith("zh") ? "zh" : "en";
  document.documentElement.lang = current === "zh" ? "zh-Hans" : "en";
  for (const element of document.querySelectorAll("[data-i18n]")) {
    say(element, element.dataset.i18n, valuesOf(element.dataset.i18nValues));
  }
  for (const element of document.querySelectorAll("[data-i18n-attributes]")) {
    const attributes = valuesOf(element.dataset.i18nAttributes);
    for (const [attribute, [key, values]] of Object.entries(attributes)) sayAttribute(element, attribute, key, values);
  }
  document.dispatchEvent(new Event("languagechange"));
}

/** Whether there is a text of a key; codes of errors may be newer than the page. */
export const knows = (key) => Object.hasOwn(TEXTS, key);

/** The text of a key in the language in use, `{name}` filled in from `values`. */
export function t(key, values = {}) {
  const forms = TEXTS[key][current].split("|");
  const text = forms.length > 1 && values.n !== 1 ? forms[1] : forms[0];
  return text.replace(/\{(\w+)\}/g, (_, name) => plain(values[name]));
}

/** A text in which signs are spelt out that turn the direction of writing around, and with it what stands behind. */
export const plain = (text) => String(text).replace(/[\u202a-\u202e\u2066-\u2069]/g, (sign) => `\\u${sign.charCodeAt(0).toString(16)}`);

/** Make a text the content of an element. */
export function say(element, key, values = {}) {
  element.textContent = t(key, values);
  element.dataset.i18n = key;
  element.dataset.i18nValues = JSON.stringify(values);
}

/** Make a text an attribute of an element, such as "aria-label". */
export function sayAttribute(element, attribute, key, values = {}) {
  element.setAttribute(attribute, t(key, values));
  const attributes = valuesOf(element.dataset.i18nAttributes);
  element.dataset.i18nAttributes = JSON.stringify({ ...attributes, [attribute]: [key, values] });
}

const valuesOf = (json) => JSON.parse(json || "{}");
