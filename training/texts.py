"""What espeak-ng is to say: sentences made up from lists of words, by chance. All of it was written for koubo; it means little."""

# Mandarin in Pinyin, for the voice cmn-latn-pinyin: initials and the finals that go with them.
FINALS = {
    'b': 'a o ai ei ao an en ang eng i ie iao ian in ing u', 'p': 'a o ai ei ao ou an en ang eng i ie iao ian in ing u',
    'm': 'a o e ai ei ao ou an en ang eng i ie iao iu ian in ing u', 'f': 'a o ei ou an en ang eng u',
    'd': 'a e ai ei ao ou an ang eng ong i ie iao iu ian ing u uo ui uan un', 't': 'a e ai ao ou an ang eng ong i ie iao ian ing u uo ui uan un',
    'n': 'a e ai ei ao an en ang eng ong i ie iao iu ian in iang ing u uo uan v ve', 'l': 'a e ai ei ao ou an ang eng ong i ie iao iu ian in iang ing u uo uan un v ve',
    'g': 'a e ai ei ao ou an en ang eng ong u ua uo uai ui uan un uang', 'k': 'a e ai ao ou an en ang eng ong u ua uo uai ui uan un uang',
    'h': 'a e ai ei ao ou an en ang eng ong u ua uo uai ui uan un uang', 'j': 'i ia ie iao iu ian in iang ing iong u ue uan un',
    'q': 'i ia ie iao iu ian in iang ing iong u ue uan un', 'x': 'i ia ie iao iu ian in iang ing iong u ue uan un',
    'zh': 'i a e ai ao ou an en ang eng ong u ua uo uai ui uan un uang', 'ch': 'i a e ai ao ou an en ang eng ong u uo uai ui uan un uang',
    'sh': 'i a e ai ei ao ou an en ang eng u ua uo uai ui uan un uang', 'r': 'i e ao ou an en ang eng ong u uo ui uan un',
    'z': 'i a e ai ei ao ou an en ang eng ong u uo ui uan un', 'c': 'i a e ai ao ou an en ang eng ong u uo ui uan un',
    's': 'i a e ai ao ou an en ang eng ong u uo ui uan un', 'y': 'i a e ao ou an in ang ing ong u ue uan un', 'w': 'u a o ai ei an en ang eng',
    '': 'a e ai ao ou an en ang er',
}
SYLLABLES = [initial + final for initial, finals in FINALS.items() for final in finals.split()]

# Who, does what, with what or where, when. Any of each may stand together.
MANDARIN = ['wo3|ni3|ta1|wo3men5|ma1ma5|ba4ba5|lao3shi1|peng2you5|xue2sheng5|mei4mei5|ye2ye5|yi1sheng1',
            'xiang3 mai3|kan4 jian4|zhi1 dao4|bu4 xi3 huan5|mei2 you3|zheng4 zai4 zuo4|yao4 dai4|fang4 xia4|da3 kai1|xie3 wan2|chi1 le5|ting1 bu4 dong3',
            'ping2 guo3|mian4 bao1|yi4 ben3 shu1|bei1 zi5|shui3 guo3|hua1|dian4 ying3|mao4 zi5|pu2 tao5|yu2|wen4 ti2|qi4 che1|bao4 zhi3|yue4 liang5',
            'jin1 tian1|ming2 tian1 xia4 wu3|zai4 jia1 li3|zai4 xue2 xiao4|man4 man4 de5|mei3 ge4 xing1 qi1|qu4 nian2|ba1 yue4|wan3 shang5|zai4 bei3 fang1']

# Voice: four columns of words.
LANGUAGES = {
    'gmw/en': ['my brother|the farmer|a woman|somebody|the small boy|our mayor|Bob|a famous painter|the old shepherd|Mary',
               'bought|watches|may move|forgot|pushed away|opened|is painting|could hear|will serve|jumps over',
               'a blue bowl|five apples|the photograph|some warm bread|a heavy box|the map of Rome|fresh fish|every window|her father|a shiny spoon',
               'in the morning|before lunch|at home|by the river|once more|without a word|with both hands|on Monday|for a while|very slowly'],
    'es': ['mi hermano|la mujer|un amigo|Pablo|nuestra vecina|el médico|la abuela|un niño', 'compra|mira|busca|abre|prueba|lleva|olvida|pinta',
           'una manzana|el libro azul|pan fresco|la ventana|un vaso de agua|el mapa|cinco flores|la puerta', 'por la mañana|en casa|mañana|con mucho gusto|cada semana|en verano|otra vez|muy despacio'],
    'de': ['mein Bruder|die Frau|ein Bauer|Papa|unsere Oma|der Lehrer|das Mädchen|ein Vogel', 'kauft|sucht|öffnet|probiert|verliert|malt|bringt|übersieht',
           'einen Apfel|das blaue Buch|frisches Brot|fünf Blumen|die Tür|schöne Bilder|viel Obst|den großen Baum', 'am Morgen|zu Hause|übermorgen|mit Mühe|jede Woche|im Sommer|noch einmal|ganz früh'],
    'fr': ['mon frère|la femme|un ami|papa|notre voisine|le médecin|ma grand-mère|un enfant', 'achète|regarde|cherche|ouvre|emporte|oublie|peint|veut bien',
           'une pomme|le livre bleu|du bon pain|cinq fleurs|la fenêtre|une petite valise|beaucoup de fruits|son chapeau', 'le matin|à la maison|demain|sans bruit|chaque semaine|en été|tout de suite|peu à peu'],
    'it': ['mio fratello|la donna|un amico|il babbo|la nostra vicina|il medico|la nonna|un bambino', 'compra|guarda|cerca|apre|prova|porta|dimentica|dipinge',
           'una mela|il libro azzurro|pane fresco|cinque fiori|la finestra|una valigia|molta frutta|il cappello', 'di mattina|a casa|domani|piano piano|ogni settimana|in estate|subito|volentieri'],
    'pt-br': ['meu irmão|a mulher|um amigo|papai|nossa vizinha|o médico|a avó|um menino', 'compra|olha|procura|abre|prova|leva|esquece|pinta',
              'uma maçã|o livro azul|pão fresco|cinco flores|a janela|um copo de água|muita fruta|o chapéu', 'de manhã|em casa|amanhã|bem devagar|toda semana|no verão|outra vez|agora mesmo'],
    'ru': ['мой брат|женщина|один друг|папа|наша бабушка|врач|мальчик|моя мама', 'покупает|видит|ищет|открывает|пробует|приносит|забывает|любит',
           'яблоко|синюю книгу|свежий хлеб|пять цветов|большое окно|воду|много фруктов|шапку', 'утром|дома|завтра|очень быстро|каждую неделю|летом|ещё раз|потом'],
    'pl': ['mój brat|kobieta|pewien chłopiec|tata|nasza babcia|lekarz|moja mama', 'kupuje|widzi|szuka|otwiera|próbuje|przynosi|zapomina',
           'jabłko|niebieską książkę|świeży chleb|pięć kwiatów|duże okno|wodę|czapkę', 'rano|w domu|jutro|bardzo powoli|co tydzień|latem|jeszcze raz'],
    'ar': ['أخي|المرأة|صديق|أبي|جارتنا|الطبيب|ولد صغير|المعلم', 'يشتري|يرى|يفتح|يبحث عن|يحمل|ينسى|يقرأ|يكتب', 'تفاحة|كتابا جديدا|خبزا|خمس زهور|الباب|ماء باردا|صورة|بيتا كبيرا',
           'في الصباح|في البيت|غدا|بسرعة|كل يوم|في الصيف|مرة أخرى|مع أمي'],
    'hi': ['मेरा भाई|एक औरत|पिताजी|हमारी दादी|बच्चा|राम|मेरी माँ', 'आज|कल सुबह|घर में|धीरे धीरे|फिर से|हर रोज़', 'सेब|नीली किताब|रोटी|पाँच फूल|बड़ी खिड़की|ठंडा पानी|बहुत फल', 'खाता है|देखता है|लाया था|भूल गया|खोलेगा|बनाती है'],
    'ja': ['あには|おかあさんは|ともだちは|せんせいは|ぼくは|ふたりは|むすめは', 'きょう|あしたの あさ|いえで|ゆっくり|まいにち|もういちど', 'りんごを|あおい ほんを|パンを|いつつの はなを|まどを|つめたい みずを|ふねを',
           'かいます|みました|わすれました|あけましょう|たべたい|もってきます'],
    'ko': ['우리 형은|엄마는|내 친구는|선생님은|아버지는|그 아이는', '오늘|내일 아침|집에서|천천히|매일|다시 한번', '사과를|파란 책을|빵을|꽃 다섯 송이를|창문을|물을|모자를', '삽니다|봤어요|잊어버렸다|열어요|먹고 싶어요|가져옵니다'],
    'tr': ['kardeşim|bir kadın|babam|komşumuz|küçük çocuk|öğretmen', 'bugün|yarın sabah|evde|yavaşça|her hafta|bir daha', 'elmayı|mavi kitabı|ekmeği|beş çiçeği|pencereyi|soğuk suyu', 'alıyor|gördü|arar|açacak|unuttu|getirir'],
    'yue': ['我|你|佢|媽媽|爸爸|老師|朋友', '買咗|睇到|唔要|打開|寫完|想食', '蘋果|麵包|一本書|杯|花|魚|帽', '今日|聽日|喺屋企|慢慢|每個月|夜晚'],
    'vi': ['anh tôi|mẹ tôi|một người bạn|ba tôi|cô giáo|em bé', 'mua|nhìn thấy|muốn mở|quên|đang tìm|mang theo', 'quả táo|quyển sách mới|bánh mì|năm bông hoa|cửa sổ|nước lạnh', 'buổi sáng|ở nhà|ngày mai|rất chậm|mỗi tuần|một lần nữa'],
    'nl': ['mijn broer|de vrouw|een boer|papa|onze oma|de leraar|het meisje', 'koopt|zoekt|opent|proeft|vergeet|schildert|brengt', 'een appel|het blauwe boek|vers brood|vijf bloemen|de deur|mooie foto\'s|veel fruit',
           'in de ochtend|thuis|overmorgen|met moeite|elke week|in de zomer|nog een keer'],
    'id': ['kakak saya|ibu|teman kami|bapak guru|anak kecil|nenek', 'membeli|melihat|mencari|membuka|lupa|membawa', 'buah apel|buku biru|roti|lima bunga|jendela|air dingin', 'pagi hari|di rumah|besok|pelan pelan|setiap minggu|sekali lagi'],
    'sw': ['kaka yangu|mama|rafiki|mwalimu|mtoto|bibi', 'ananunua|anaona|anatafuta|anafungua|alisahau|ataleta', 'tufaha|kitabu kipya|mkate|maua matano|dirisha|maji baridi', 'asubuhi|nyumbani|kesho|polepole|kila wiki|tena'],
}

# The grid corpus's sentences by the letters of their names (Cooke et al. 2006): brbk7n is "bin red by k seven now".
GRID = [{'b': 'bin', 'l': 'lay', 'p': 'place', 's': 'set'}, {'b': 'blue', 'g': 'green', 'r': 'red', 'w': 'white'},
        {'a': 'at', 'b': 'by', 'i': 'in', 'w': 'with'}, {**{c: c for c in 'bcdefghijklmnopqrstuvwxyz'}, 'a': '[[eI]]'},
        {**dict(zip('123456789', 'one two three four five six seven eight nine'.split())), 'z': 'zero'},
        {'a': 'again', 'n': 'now', 'p': 'please', 's': 'soon'}]


def grid_sentence(name):
    """The words of a clip of the grid corpus by its file's name, or None if that is none of theirs."""
    stem = name.split('.')[0].split('_')[-1]
    if len(stem) != 6 or any(c not in words for c, words in zip(stem, GRID)):
        return None
    return ' '.join(words[c] for c, words in zip(stem, GRID))


def pick(random, options):
    return options[random.integers(len(options))]


def syllable(random, wanted=None):
    """One of Mandarin's, with a tone; wanted: whose function picks among SYLLABLES."""
    options = SYLLABLES if wanted is None else [s for s in SYLLABLES if wanted(s)]
    return f'{pick(random, options)}{random.integers(1, 5)}'


def mandarin(random):
    """A sentence, or syllables by chance in groups of two to four."""
    if random.random() < 0.4:
        return ' '.join(pick(random, column.split('|')) for column in MANDARIN) + '.'
    groups = [' '.join(syllable(random) for _ in range(random.integers(2, 5))) for _ in range(random.integers(2, 5))]
    return ', '.join(groups) if random.random() < 0.4 else ' '.join(groups)


def sentence(random, voice):
    """In the language of one of LANGUAGES; every fifth ends with a number."""
    words = [pick(random, column.split('|')) for column in LANGUAGES[voice]]
    if random.random() < 0.2:
        words.append(f', {random.integers(1, 1000)}')
    return ' '.join(words) + '.'
